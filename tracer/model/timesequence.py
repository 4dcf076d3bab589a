"""The time-sequence graph of one direction: which bytes were sent when, what was acknowledged, how far the window reached.

Arriving segments are told by the end that they reach, acknowledgements, the window and retransmissions by the end that sends.
Where only the sender is traced, what it has sent is known at each segment that it receives: as one step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.decode import Events
from tracer.model.dossier import Dossier
from tracer.model.tcp import FLAG, KIND

Points = NDArray[np.int64]


@dataclass(frozen=True)
class TimeSequence:
    """One direction. Times are the records' own, in ns; numbers count from the initial one, so that the first byte is 1.

    sent: time, first number, the one behind the last, shape (n, 3). acknowledged: time, number. window: time, how far the
    receiver allows to send. retransmitted: time, first number. forward: whether it is what the first end has sent.
    """

    sent: Points
    acknowledged: Points
    window: Points
    retransmitted: Points
    forward: bool


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
        retransmitted=_points(again, _counted(again["sequence"], initial)),
        forward=forward,
    )


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
