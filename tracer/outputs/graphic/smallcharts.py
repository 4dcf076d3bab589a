"""Charts without axes, of the height of a line of text: for a cell of a table. What they show is said in words, too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isnan, log, nan

from tracer.outputs.graphic.markup import Markup, element, number_text

WIDTH, HEIGHT = 120, 22
LOG_RANGE = 65536.0
"""On a logarithmic scale the lowest bar is so much less than the highest one: from 1 s down to 15 µs."""


def sparkline(values: Sequence[float | None], label: str, *, color: int = 1) -> Markup:
    """Return a line of these values from 0 to the highest, the latest rightmost; None and nan leave a gap.

    label: what it shows, for those who do not see it, and for the pointer. color: 1 to 6, 0 for grey.
    """
    known = _numbers(values)
    highest = _highest(known)
    runs = list(_runs([HEIGHT - 2 - (HEIGHT - 4) * value / highest for value in known]))
    step = (WIDTH - 4) / max(len(values) - 1, 1)
    lines = "".join(_line(first, run, step) for first, run in runs)
    areas = "".join(f"{_line(first, run, step)}V{HEIGHT - 2}H{number_text(2 + first * step)}Z" for first, run in runs)
    area, line = element("path", d=areas, class_=f"f{color} area"), element("path", d=lines, class_=f"s{color} thin")
    return _spark(label, area, line)


def spark_bars(values: Sequence[float | None], label: str, *, color: int = 1, logarithmic: bool = False) -> Markup:
    """Return a bar for each value likewise. logarithmic: down to LOG_RANGE below the highest one, for times."""
    known = _numbers(values)
    highest = _highest(known)
    width = (WIDTH - 4) / max(len(values), 1)
    path = "".join(
        f"M{number_text(2 + at * width)} {HEIGHT - 2}v{number_text(-_height(value, highest, logarithmic=logarithmic))}"
        f"h{number_text(width * 0.85)}V{HEIGHT - 2}Z"
        for at, value in enumerate(known)
        if value > 0
    )
    return _spark(label, element("path", d=path, class_=f"f{color}"))


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [nan if value is None else value for value in values]


def _highest(values: Sequence[float]) -> float:
    return max((value for value in values if not isnan(value)), default=0.0) or 1.0


def _height(value: float, highest: float, *, logarithmic: bool) -> float:
    share = 1 - log(highest / value) / log(LOG_RANGE) if logarithmic else value / highest
    return max((HEIGHT - 4) * share, 1.0)


def _spark(label: str, *parts: Markup) -> Markup:
    box = f"0 0 {WIDTH} {HEIGHT}"
    return element("svg", element("title", label), *parts, viewBox=box, role="img", aria_label=label, class_="spark")


def _runs(heights: Sequence[float]) -> Iterator[tuple[int, list[float]]]:
    """Yield each run of known values with the place of its first."""
    run: list[float] = []
    for at, height in enumerate((*heights, nan)):
        if not isnan(height):
            run.append(height)
        elif run:
            yield at - len(run), run
            run = []


def _line(first: int, run: Sequence[float], step: float) -> str:
    points = [f"{number_text(2 + (first + at) * step)} {number_text(height)}" for at, height in enumerate(run)]
    if len(points) == 1:
        points.append(f"{number_text(3 + first * step)} {number_text(run[0])}")
    return f"M{'L'.join(points)}"
