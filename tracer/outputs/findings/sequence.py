"""The time-sequence graph of a connection as SVG, and below it cwnd and round-trip time. Pure: numbers in, a figure out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tracer.model.tcp import RETRANSMIT_KINDS
from tracer.model.timesequence import Points, TimeSequence, thinned
from tracer.outputs.graphic.axes import BYTES, SECONDS, Axis, Box, below, chart, legend, vertical_axis
from tracer.outputs.graphic.markup import Markup, element, joined, number_text
from tracer.outputs.units import bytes_text

WIDTH, LEFT, RIGHT = 960, 64, 16
HEIGHT, SMALL, GAP = 340, 74, 38
ABOVE = 1.35
"""How far above the last byte the picture reaches at most, by the number of bytes: a window can be a hundred times more."""

ARRIVALS_NOT_TOLD = (
    "The kernel tells what comes while a side is established: acknowledgements and the window end when it has closed its own. "
    "Recordings do not tell selective acknowledgements (SACK)."
)


def sequence_figure(graph: TimeSequence, name: str, *, arrivals: bool) -> Markup:
    """Return the picture of a graph. name: of the direction. arrivals: whether segments are told by who received them."""
    drawn = thinned(graph)
    main = Box(LEFT, 54, WIDTH - LEFT - RIGHT, HEIGHT)
    cwnd = Box(LEFT, main.bottom + GAP, main.width, SMALL)
    rtt = Box(LEFT, cwnd.bottom + GAP, main.width, SMALL)
    times = np.concatenate([points[:, 0] for points in (drawn.sent, drawn.acknowledged, drawn.retransmitted) if len(points)])
    start, end = int(times.min()), int(times.max())
    across = Axis(0.0, max(end - start, 1) / 1e9, main.left, main.right, "time since the first of these", SECONDS)
    parts = [_main(drawn, main, across, start)]
    last = main
    for box, column, factor, title, units, color in (
        (cwnd, 1, 1.0, "congestion window in segments", ((1.0, ""),), 1),
        (rtt, 2, 1e-6, "smoothed round-trip time", SECONDS, 4),
    ):
        if len(drawn.measured):
            series = np.column_stack((drawn.measured[:, 0], drawn.measured[:, column]))
            parts += [_measure(series, factor, box, across, start, title, units, color), below(across, box, titled=box is rtt)]
            last = box
    return chart(
        *(WIDTH, last.bottom + 42, _label(graph, name)),
        *(legend(_symbols(), LEFT, 16, room=main.width), *parts, below(across, main, titled=last is main)),
        caption=_caption(graph, arrivals=arrivals),
        wide=True,
    )


def _main(graph: TimeSequence, box: Box, across: Axis, start: int) -> Markup:
    most = max([1, *(int(points[:, 1:2].max()) for points in (graph.sent, graph.acknowledged) if len(points))])
    least = min([0, *(int(points[:, 1:2].min()) for points in (graph.sent, graph.acknowledged) if len(points))])
    reach = max([most, *(int(points[:, 1].max()) for points in (graph.window,) if len(points))])
    up = Axis(float(least), float(min(reach, most * ABOVE)), box.bottom, box.top, "sequence number", BYTES)
    lines = [
        f"M{x} {number_text(up.at(low))}V{number_text(min(up.at(high), up.at(low) - 1.5))}"
        for x, low, high in _segments(graph, across, start)
    ]
    marks = "".join(
        f"M{_x(across, time, start)} {number_text(up.at(first))}" + _DIAMOND for time, first, _ in graph.retransmitted.tolist()
    )
    return joined(
        (
            vertical_axis(up, box, about=6),
            element("path", d=_stairs(graph.window, up, across, start), class_="s5 thin", stroke_dasharray="5 3"),
            element("path", d=_stairs(graph.acknowledged, up, across, start), class_="s3 thick"),
            element("path", d="".join(lines), class_="s1 thick"),
            element("path", d=marks, class_="f2"),
        )
    )


_DIAMOND = "m0 -6l5 6l-5 6l-5 -6Z"


def _segments(graph: TimeSequence, across: Axis, start: int) -> Iterator[tuple[str, int, int]]:
    for time, first, last in graph.sent.tolist():
        yield _x(across, time, start), first, last


def _x(across: Axis, time_ns: int, start: int) -> str:
    return number_text(across.at((time_ns - start) / 1e9))


def _stairs(points: Points, up: Axis, across: Axis, start: int) -> str:
    """Return a line that stays until the next value is known; what is above the picture runs along its edge."""
    path: list[str] = []
    for time, number in points.tolist():
        x, y = _x(across, time, start), number_text(up.at(min(max(number, up.low), up.high)))
        path.append(f"H{x}V{y}" if path else f"M{x} {y}")
    return "".join(path)


def _measure(
    points: Points,
    factor: float,
    box: Box,
    across: Axis,
    start: int,
    title: str,
    units: Sequence[tuple[float, str]],
    color: int,
) -> Markup:
    known = points[points[:, 1] > 0]
    most = float(known[:, 1].max()) * factor if len(known) else 1.0
    up = Axis(0.0, most, box.bottom, box.top, title, units)
    path = [f"{_x(across, time, start)} {number_text(up.at(value * factor))}" for time, value in known.tolist()]
    line = f"M{'L'.join(path)}" if len(path) > 1 else ""
    return joined((vertical_axis(up, box, about=3), element("path", d=line, class_=f"s{color} thin")))


def _symbols() -> list[tuple[Markup, str]]:
    return [
        (element("path", d="M0 -6V6", class_="s1 thick"), "segment"),
        (element("path", d="M-8 0H8", class_="s3 thick"), "acknowledged"),
        (element("path", d="M-8 0H8", class_="s5 thin", stroke_dasharray="5 3"), "end of the receiver's window"),
        (element("path", d=f"M0 0{_DIAMOND}", class_="f2"), "retransmitted"),
    ]


def _label(graph: TimeSequence, name: str) -> str:
    most = max((int(points[:, 1].max()) for points in (graph.sent, graph.acknowledged) if len(points)), default=0)
    return f"Time-sequence graph, {name}: {bytes_text(max(most, 0))}, {len(graph.retransmitted):,} retransmissions"


def _caption(graph: TimeSequence, *, arrivals: bool) -> str:
    counted = np.bincount(graph.retransmitted[:, 2], minlength=len(RETRANSMIT_KINDS))
    kinds = ", ".join(
        f"{int(count):,} {RETRANSMIT_KINDS[kind]}" for kind, count in enumerate(counted[: len(RETRANSMIT_KINDS)]) if count
    )
    how = (
        "Segments as they arrived at the receiver, so that lost ones are missing."
        if arrivals
        else "Segments as far as they had left when something came back, since the receiver is not traced."
    )
    counts_from = "" if graph.initial else " Its handshake was not seen: numbers are those of the wire."
    return f"{how} Retransmissions: {kinds or 'none'}. The first byte is 1.{counts_from} {ARRIVALS_NOT_TOLD}"
