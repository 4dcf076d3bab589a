"""A time-sequence graph as xplot draws it: segments white, acknowledgements green, window yellow, retransmitted red."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from tracer.model.timesequence import Points, TimeSequence


def xpl_lines(graph: TimeSequence, title: str, anchor_ns: int) -> Iterator[str]:
    """Yield the lines of a file for xplot; anchor_ns: what makes Unix time of the graph's times."""
    yield from ("timeval double", "title", title, "xlabel", "time", "ylabel", "sequence number")
    yield "white"
    for time, first, last in graph.sent.tolist():
        yield f"line {_time(time, anchor_ns)} {first} {_time(time, anchor_ns)} {last}"
    for color, points in (("green", graph.acknowledged), ("yellow", graph.window)):
        yield color
        yield from _stairs(points, anchor_ns)
    yield "red"
    for time, first, _ in graph.retransmitted.tolist():
        yield f"diamond {_time(time, anchor_ns)} {first}"
        yield f"atext {_time(time, anchor_ns)} {first}"
        yield "R"
    yield "go"


def _stairs(points: Points, anchor_ns: int) -> Iterator[str]:
    rows = points.tolist()
    for (time, number), (later, next_number) in pairwise(rows):
        yield f"line {_time(time, anchor_ns)} {number} {_time(later, anchor_ns)} {number}"
        if next_number != number:
            yield f"line {_time(later, anchor_ns)} {number} {_time(later, anchor_ns)} {next_number}"


def _time(time_ns: int, anchor_ns: int) -> str:
    whole, fraction = divmod(time_ns + anchor_ns, 10**9)
    return f"{whole}.{fraction:09}"
