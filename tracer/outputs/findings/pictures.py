"""The pictures of a report: handshakes over time and by duration, retransmissions by peer. Pure: numbers in, SVG out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from tracer.ingest.source import Context
from tracer.model.findings import Courses
from tracer.model.histogram import Histogram
from tracer.model.overtime import LATENCIES, PER_ROW, Counts, Timeline, latency_bounds
from tracer.outputs.graphic.axes import SECONDS, Axis, Box, below, chart, legend, vertical_axis
from tracer.outputs.graphic.markup import Markup, element, joined, number_text
from tracer.outputs.units import shortened, time_text

WIDTH = 960
LEFT, RIGHT = 64, 16
LEVELS = 7
LETTER, GAP = 6.8, 6.0
"""Pixels that a letter of a quantile's name takes, and between two names."""

STRIP = 46
"""Height of a peer's row."""


def since(time_ns: int, context: Context) -> str:
    """Return the title of an axis that begins at a time."""
    return f"time since {datetime.fromtimestamp((time_ns + context.anchor_ns) // 10**9, UTC):%Y-%m-%d %H:%M:%S} UTC"


def handshakes_over_time(timeline: Timeline, role: str, context: Context) -> Markup:
    """Return a heat map: a column for each span of time, a row for each range of durations, the darker the more."""
    used = np.flatnonzero(timeline.counts.any(axis=1))
    first, last = max(int(used[0]) - 1, 0), min(int(used[-1]) + 1, LATENCIES - 1)
    box = Box(LEFT, 64, WIDTH - LEFT - RIGHT, 14 * (last - first + 1))
    across, up = _time_axis(timeline, box, context), _latency_axis(first, last, box)
    bounds = level_bounds(int(timeline.counts.max()))
    cells = [_cells(timeline, (bounds[at - 1] if at else 0, bound), across, up) for at, bound in enumerate(bounds)]
    drawn = [element("path", d=path, class_=f"h{_shade(at, len(bounds))}") for at, path in enumerate(cells)]
    seconds = timeline.width_ns / 1e9
    most = f"at most {bounds[-1]:,} in a cell of {time_text(seconds)}"
    label = f"Handshakes of the {role} side by time and duration: {int(timeline.counts.sum()):,}, {most}"
    return chart(
        *(WIDTH, box.bottom + 40, label),
        *(vertical_axis(up, box), joined(drawn), below(across, box), _levels(bounds, box)),
        caption=f"{role}: how many handshakes took how long, in columns of {time_text(seconds)}.",
        wide=True,
    )


def level_bounds(most: int) -> list[int]:
    """Return the largest count of each shade, the last one `most`: equal steps on a logarithmic scale, none twice."""
    return sorted({max(round(most ** (level / LEVELS)), 1) for level in range(1, LEVELS + 1)})


def _shade(at: int, count: int) -> int:
    return LEVELS - (count - 1 - at) * (LEVELS - 1) // max(count - 1, 1) if count > 1 else LEVELS


def _cells(timeline: Timeline, between: tuple[int, int], across: Axis, up: Axis) -> str:
    """Return the path of the cells with more than the first count, and at most the second."""
    rows, columns = np.nonzero((timeline.counts > between[0]) & (timeline.counts <= between[1]))
    seconds = timeline.width_ns / 1e9
    width = across.at(seconds) - across.at(0)
    path = []
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        low, high = map(up.at, latency_bounds(row))
        left = number_text(across.at(column * seconds))
        path.append(f"M{left} {number_text(high)}h{number_text(width)}V{number_text(low)}H{left}Z")
    return "".join(path)


def _levels(bounds: Sequence[int], box: Box) -> Markup:
    entries = []
    for at, bound in enumerate(bounds):
        least = bounds[at - 1] + 1 if at else 1
        text = f"{bound:,}" if least == bound else f"{least:,} to {bound:,}"
        entries.append((element("rect", x=-8, y=-6, width=14, height=12, class_=f"h{_shade(at, len(bounds))}"), text))
    title = element("text", "handshakes in a cell:", x=box.left, y=16)
    return joined((title, legend(entries, box.left + 130, 16, room=box.width - 130)))


def _time_axis(timeline: Timeline, box: Box, context: Context) -> Axis:
    seconds = timeline.counts.shape[1] * timeline.width_ns / 1e9
    return Axis(0.0, seconds, box.left, box.right, since(timeline.start_ns, context), SECONDS)


def _latency_axis(first: int, last: int, box: Box) -> Axis:
    low, high = latency_bounds(first)[0], latency_bounds(last)[1]
    return Axis(low, high, box.bottom, box.top, "handshake", SECONDS, logarithmic=True)


def handshake_histogram(times: Histogram, role: str, quantiles: Sequence[tuple[str, float]]) -> Markup:
    """Return how many handshakes took how long. times: of one row. quantiles: names and seconds, which have a line each."""
    counts = _by_row(times)
    used = np.flatnonzero(counts)
    first, last = max(int(used[0]) - 1, 0), min(int(used[-1]) + 1, LATENCIES - 1)
    box = Box(LEFT, 40, 480 - LEFT - RIGHT, 170)
    across = Axis(
        latency_bounds(first)[0], latency_bounds(last)[1], box.left, box.right, "handshake", SECONDS, logarithmic=True
    )
    up = Axis(0.0, float(counts.max()), box.bottom, box.top, "handshakes")
    bars = [_bar(across, up, latency_bounds(row), int(counts[row])) for row in used.tolist()]
    said = ", ".join(f"{name} {time_text(value)}" for name, value in quantiles)
    label = f"How long handshakes of the {role} side took, on a logarithmic axis: {int(counts.sum()):,}; {said}"
    marks = joined(_mark(box, x, name) for x, name in _together(box, [(across.at(value), name) for name, value in quantiles]))
    return chart(
        *(480, box.bottom + 40, label),
        *(vertical_axis(up, box, about=4, above=24), element("path", d="".join(bars), class_="f1"), marks, below(across, box)),
        caption=f"{role}: {said}",
    )


def _by_row(times: Histogram) -> Counts:
    padded = np.zeros(LATENCIES * PER_ROW, np.int64)
    padded[: times.counts.shape[1]] = times.counts[0]
    rows: Counts = padded.reshape(LATENCIES, PER_ROW).sum(axis=1)
    return rows


def _bar(across: Axis, up: Axis, between: tuple[float, float], count: int) -> str:
    left, right = across.at(between[0]) + 0.5, across.at(between[1]) - 0.5
    height = max(up.start - up.at(count), 1.0)
    return f"M{number_text(left)} {number_text(up.start)}v{number_text(-height)}H{number_text(right)}V{number_text(up.start)}Z"


def _together(box: Box, marks: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Return marks in the order of their pixels; those whose names would touch are one, at the place of the first."""
    found = list(marks)
    at = 1
    while at < len(found):
        (x, name), (next_x, next_name) = found[at - 1], found[at]
        room = LETTER * (len(name) + len(next_name)) / 2 + GAP
        if _middle(box, next_x, next_name) - _middle(box, x, name) < room:
            found[at - 1 : at + 1] = [(x, f"{name}, {next_name}")]
            at = max(at - 1, 1)
        else:
            at += 1
    return found


def _middle(box: Box, x: float, name: str) -> float:
    """Return where a name's middle is, which stays inside the picture."""
    half = LETTER * len(name) / 2
    return min(max(x, box.left + half), box.right + RIGHT - half)


def _mark(box: Box, x: float, name: str) -> Markup:
    """Return a line at a quantile, with its name above."""
    line = element("path", d=f"M{number_text(x)} {number_text(box.top - 2)}V{number_text(box.bottom)}", class_="s2 thin")
    return joined((line, element("text", name, x=_middle(box, x, name), y=box.top - 6, text_anchor="middle")))


def retransmissions_over_time(courses: Courses, peers: Sequence[str], context: Context) -> Markup:
    """Return a row of bars for each peer with most, and one for the rest; all rows have the same scale."""
    timeline = courses.retransmissions
    named = [*peers, "all others"]
    rows = [(name, counts) for name, counts in zip(named, timeline.counts, strict=True) if counts.any()]
    most = int(timeline.counts.max())
    box = Box(LEFT, 12, WIDTH - LEFT - RIGHT, STRIP * len(rows))
    across = _time_axis(timeline, box, context)
    strips = [_strip(across, box.top + STRIP * at, most, *row, timeline.width_ns / 1e9) for at, row in enumerate(rows)]
    said = "; ".join(f"{name}: {int(counts.sum()):,}" for name, counts in rows)
    seconds = time_text(timeline.width_ns / 1e9)
    return chart(
        *(WIDTH, box.bottom + 40, f"Retransmitted segments over time by peer. {said}"),
        *(joined(strips), below(across, box)),
        caption=f"Retransmitted segments in columns of {seconds}; the highest bar is {most:,}, and all rows have its scale.",
        wide=True,
    )


def _strip(across: Axis, top: float, most: int, name: str, counts: Counts, seconds: float) -> Markup:
    bottom, room = top + STRIP - 4, STRIP - 22
    width = across.at(seconds) - across.at(0)
    bars = []
    for column in np.flatnonzero(counts).tolist():
        height = max(room * int(counts[column]) / most, 1.0)
        left = number_text(across.at(column * seconds))
        bars.append(
            f"M{left} {number_text(bottom)}v{number_text(-height)}h{number_text(max(width - 1, 1))}V{number_text(bottom)}Z"
        )
    rule = element("path", d=f"M{number_text(across.start)} {number_text(bottom)}H{number_text(across.end)}", class_="rule")
    text = element("text", f"{shortened(name, 60)}: {int(counts.sum()):,}", x=across.start, y=top + 11)
    return joined((rule, element("path", d="".join(bars), class_="f2"), text))
