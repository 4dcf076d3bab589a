"""Sparklines: numbers as a row of small bars. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import isnan, log

from tracer.model.history import INTERVALS

BARS = "▁▂▃▄▅▆▇█"
TIME_STEP = 4
"""Factor between a time's bar and the next lower one: from 1 s down they reach to 61 µs."""


def rate_spark(rates: Sequence[float], columns: int) -> str:
    """Return the rates of the last INTERVALS as so many bars (a part of INTERVALS), the latest rightmost.

    A bar is the mean of its time, as high as its share of the highest one, and the lowest bar is 0; a blank is not known (nan).
    """
    return _spark(rates, columns, lambda group: sum(group) / len(group), _linear)


def time_spark(times: Sequence[float], columns: int) -> str:
    """Return times likewise: a bar is the longest of its time, and on a logarithmic scale."""
    return _spark(times, columns, max, _logarithmic)


def series_spark(values: Sequence[float], width: int) -> str:
    """Return at most width bars, each the mean of its share of the values; a series that never changes lies low."""
    if not values:
        return ""
    count = min(len(values), width)
    edges = [len(values) * at // count for at in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, span = min(means), max(means) - min(means)
    return "".join(BARS[round((mean - low) / span * (len(BARS) - 1)) if span else 0] for mean in means)


def _spark(
    values: Sequence[float], columns: int, combine: Callable[[Sequence[float]], float], scale: Callable[[float, float], int]
) -> str:
    each = INTERVALS // columns
    padded = [float("nan")] * (INTERVALS - len(values)) + list(values)
    groups = [[v for v in padded[i : i + each] if not isnan(v)] for i in range(0, columns * each, each)]
    bars = [combine(group) if group else None for group in groups]
    highest = max((bar for bar in bars if bar), default=0.0)
    return "".join(" " if bar is None else BARS[scale(bar, highest)] for bar in bars)


def _linear(value: float, highest: float) -> int:
    return 1 + round(value / highest * (len(BARS) - 2)) if value > 0 else 0


def _logarithmic(value: float, highest: float) -> int:
    return max(0, len(BARS) - 1 - round(log(highest / value, TIME_STEP))) if value > 0 else 0
