"""The live view's screen of one service: its last minute, its handshake times, and why things ended. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import isnan

import numpy as np
from numpy.typing import NDArray

from tracer.model.histogram import CLASSIC_BOUNDS, Histogram, classic, quantile
from tracer.model.history import History
from tracer.model.report import Report, Service
from tracer.outputs.live.blocks import Block, beside
from tracer.outputs.live.notes import NAME_WIDTH, Note, largest_first, note_lines, per_hundred, ratio_text
from tracer.outputs.live.openblock import open_block
from tracer.outputs.live.styled import Line, Piece, cut, line
from tracer.outputs.live.table import SPARK_COLUMNS
from tracer.outputs.spark import rate_spark, time_spark
from tracer.outputs.units import UNKNOWN, bytes_text, count_text, rate_text, time_text

_LONGEST_BAR = 30
_NOW_WIDTH = len(" now 63.7 µs")


def detail(history: History, key: tuple[str, ...] | None, width: int, height: int) -> list[Line]:
    """Return everything about one service in at most so many lines, the most telling first."""
    service = next((s for s in history.services if s.key == key), None)
    if service is None:
        return [cut(line(" nothing is known of this service"), width)][:height]
    facts = _facts(history.report, service)
    lines = [
        *_minute(history, service, width),
        (),
        *note_lines(facts, width, len(facts)),
        (),
        *beside([open_block(history.report, service), *_reasons(service)], width),
    ]
    lines += [()] if lines[-1] else []
    return [*lines, *_distribution(service.times, width, height - len(lines))][:height]


def _minute(history: History, service: Service, width: int) -> list[Line]:
    room = width - NAME_WIDTH - _NOW_WIDTH
    columns = next((size for size in SPARK_COLUMNS if size <= room), SPARK_COLUMNS[-1])
    rates, p99s = history.moments[service.key].T.tolist()
    return [
        cut(_spark("/s", rate_spark(rates, columns), f" now {rate_text(_known(rates[-1]))}"), width),
        cut(_spark("p99", time_spark(p99s, columns), f" now {time_text(_known(p99s[-1]))}"), width),
        cut(line(Piece(" " * NAME_WIDTH + "-60 s".ljust(columns - 3) + "now", "dim")), width),
    ]


def _spark(name: str, bars: str, now: str) -> Line:
    return line(Piece(f" {name}".ljust(NAME_WIDTH), "bold"), Piece(bars, "spark"), now)


def _known(value: float) -> float | None:
    return None if isnan(value) else value


def _facts(report: Report, service: Service) -> list[Note]:
    """Return the figures of all its time."""
    series = report.series
    rows = np.array([row for row, labels in enumerate(series.labels) if labels == service.key], np.intp)
    times = {name: time_text(service.quantile(q)) for name, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1))}
    sent, received = (bytes_text(int(counts[rows].sum())) for counts in (series.sent_bytes, series.received_bytes))
    opened = count_text(service.handshakes)
    return [
        Note(
            "opened",
            (
                f"{opened}: {', '.join(f'{name} {time}' for name, time in times.items())}",
                f"{opened}: p50 {times['p50']}, p99 {times['p99']}",
            )
            if service.handshakes
            else (opened,),
        ),
        Note("open", (count_text(service.connections),)),
        Note("closed", (f"{count_text(service.closed)}{_middle(' after {}', series.connection_times, rows)}",)),
        Note("payload", (f"{sent} sent, {received} received",)),
        Note("rtt", (_middle("{}, at the end", series.srtt, rows) or UNKNOWN,)),
    ]


def _middle(text: str, times: Histogram, rows: NDArray[np.intp]) -> str:
    found = times.merged(rows)
    middle, most = (_known(float(quantile(found, q)[0])) for q in (0.5, 0.99))
    return "" if middle is None else text.format(f"p50 {time_text(middle)}, p99 {time_text(most)}")


def _reasons(service: Service) -> list[Block]:
    shares = per_hundred(service.retransmitted, service.seen)
    kinds = largest_first(service.retransmitted)
    return [
        Block(("failed", "count"), _rows(service.failures)),
        Block(("closed", "count"), _rows(service.closes)),
        Block(
            ("resent segments", "count", "per 100 connections"),
            [(kind, count_text(count), ratio_text(shares[kind]) if shares else UNKNOWN) for kind, count in kinds],
        ),
    ]


def _rows(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    return [(name, count_text(count)) for name, count in largest_first(counts)]


def _distribution(times: Histogram, width: int, height: int) -> list[Line]:
    """Return the histogram of handshake times as bars, each for a factor of two in time; those of nothing are left out.

    If not all have room, the shortest times are one bar.
    """
    counts = np.diff(classic(times)[0], prepend=np.uint64(0)).astype(int).tolist()
    bounds = [time_text(bound) for bound in CLASSIC_BOUNDS]
    names = [f"to {bounds[0]}", *(f"{a} to {b}" for a, b in pairwise(bounds)), f"from {bounds[-1]}"]
    used = [i for i, count in enumerate(counts) if count]
    if not used or height < 2:
        return []
    first = max(0, len(used) - height + 1)
    buckets = [(names[i], counts[i]) for i in used[first:]]
    if first:
        buckets[0] = (f"to {bounds[used[first]]}", sum(counts[: used[first] + 1]))
    most = max(count for _, count in buckets)
    head = cut(line(Piece(" handshake times", "bold")), width)
    return [head, *(cut(_bar(name, count, most), width) for name, count in buckets)]


def _bar(name: str, count: int, most: int) -> Line:
    return line(f" {name:>18} {count_text(count):>6} ", Piece("█" * round(count / most * _LONGEST_BAR) or "▏", "spark"))
