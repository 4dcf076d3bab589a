"""The time-sequence graph of one direction: which bytes were sent when, what was acknowledged, how far the window reached.

Arriving segments are told by the end that they reach, acknowledgements, the window and retransmissions by the end that sends.
Where only the sender is traced, what it has sent is known at each segment that it receives: as one step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.decode import Events
from tracer.ingest.sets import union
from tracer.model.dossier import Dossier
from tracer.model.tcp import FLAG, KIND

Points = NDArray[np.int64]

COLUMNS, ROWS = 600, 400
"""Of a picture that a graph is thinned for."""


@dataclass(frozen=True)
class TimeSequence:
    """One direction. Times are the records' own, in ns; numbers count from the initial one, so that the first byte is 1.

    sent: time, first number, the one behind the last, shape (n, 3). acknowledged: time, number. window: time, how far the
    receiver allows to send. retransmitted: time, first number, kind by number in RETRANSMIT_KINDS. measured: time, congestion
    window in segments, smoothed round-trip time in µs. forward: whether it is what the first end has sent. initial: the number
    that is counted from, 0 where it is not known.
    """

    sent: Points
    acknowledged: Points
    window: Points
    retransmitted: Points
    measured: Points
    forward: bool
    initial: int


def time_sequence(found: Dossier) -> TimeSequence | None:
    """Return the graph of the direction that carried more; None where the sender of it is not traced."""
    forward = bool(found.own["sent_bytes"].max() >= found.own["received_bytes"].max())
    sender, receiver = (found.own, found.peer) if forward else (found.peer, found.own)
    if not len(sender):
        return None
    initial = _initial(sender)
    heard = sender[sender["kind"] == KIND["segment"]]
    again = sender[(sender["kind"] == KIND["retransmit"]) & (sender["flags"] & FLAG["failed"] == 0)]
    acknowledged = _counted(heard["acknowledgement"], initial)
    return TimeSequence(
        sent=_arrived(receiver, initial) if len(receiver) else _sent_by_then(heard, initial),
        acknowledged=_points(heard, acknowledged),
        window=_points(heard, acknowledged + heard["send_window"]),
        retransmitted=_points(again, _counted(again["sequence"], initial), again["retransmit_kind"].astype(np.int64)),
        measured=_points(heard, *(heard[name].astype(np.int64) for name in ("congestion_window", "srtt_us"))),
        forward=forward,
        initial=initial,
    )


def thinned(graph: TimeSequence) -> TimeSequence:
    """Return the same with at most some thousand points: what a picture of COLUMNS and ROWS can tell apart."""
    every = [points for points in (graph.sent, graph.acknowledged, graph.retransmitted) if len(points)]
    if not every:
        return graph
    first = min(int(points[:, 0].min()) for points in every)
    width = max((max(int(points[:, 0].max()) for points in every) - first) // COLUMNS, 1)
    height = max(max(int(points[:, 1:2].max()) for points in every) // ROWS, 1)
    return replace(
        graph,
        sent=_merged(graph.sent, first, width, height),
        acknowledged=_extremes(graph.acknowledged, first, width),
        window=_extremes(graph.window, first, width),
        retransmitted=_merged(graph.retransmitted, first, width, height, last=False),
        measured=_extremes(graph.measured, first, width),
    )


def _merged(points: Points, first: int, width: int, height: int, *, last: bool = True) -> Points:
    """Return one point for each cell: its first time and number, and with last the largest number behind its last."""
    if len(points) <= COLUMNS:
        return points
    cells = np.column_stack(((points[:, 0] - first) // width, points[:, 1] // height))
    _, index, inverse = np.unique(cells, axis=0, return_index=True, return_inverse=True)
    merged: Points = points[index].copy()
    if last:
        np.maximum.at(merged[:, 2], inverse.ravel(), points[:, 2])
        np.minimum.at(merged[:, 1], inverse.ravel(), points[:, 1])
    return merged[np.argsort(merged[:, 0], kind="stable")]


def _extremes(points: Points, first: int, width: int) -> Points:
    """Return of each column the first and the last point, and those with the least and the largest value of each kind."""
    if len(points) <= COLUMNS:
        return points
    column = (points[:, 0] - first) // width
    kept = [np.unique(column, return_index=True)[1], len(points) - 1 - np.unique(column[::-1], return_index=True)[1]]
    for value in range(1, points.shape[1]):
        order = np.lexsort((points[:, value], column))
        begins = np.flatnonzero(np.diff(column[order], prepend=column[order[0]] - 1))
        kept += [order[begins], order[np.append(begins[1:], len(points)) - 1]]
    chosen: Points = points[union(*kept)]
    return chosen


def _initial(records: Events) -> int:
    """Return the initial sequence number of an end's own direction, 0 where its handshake was not seen."""
    known = records["initial_sequence"][records["initial_sequence"] != 0]
    return int(known[0]) if len(known) else 0


def _counted(numbers: NDArray[np.uint32], initial: int) -> Points:
    """Return sequence numbers as counts from the initial one, which go on beyond 2^32."""
    steps = np.diff(numbers.astype(np.uint32), prepend=np.uint32(initial)).view(np.int32)
    return np.cumsum(steps.astype(np.int64))


def _points(records: Events, *columns: Points) -> Points:
    return np.column_stack((records["time_ns"].astype(np.int64), *columns))


def _arrived(receiver: Events, initial: int) -> Points:
    data = receiver[(receiver["kind"] == KIND["segment"]) & (receiver["payload_bytes"] > 0)]
    first = _counted(data["sequence"], initial)
    return _points(data, first, first + data["payload_bytes"])


def _sent_by_then(heard: Events, initial: int) -> Points:
    """Return the steps by which what was sent grew between the segments that came."""
    following = _counted(heard["send_next"], initial)
    before = np.concatenate(([1], following[:-1])) if len(following) else following
    grown = following > before
    return _points(heard, before, following)[grown]
