"""Ends that were told before their cause was known, put right within their batch.

The kernel changes the state first and sends its reset then, at every abort: unread data, linger 0, disconnect, many orphans.
When data come that nobody will read, it even resets its own socket as if a reset had been received (tcp_reset, which fires the
tracepoint of received resets), and only then sends one. So the end is on its way by then. The reset's record follows within
microseconds, and is the only kind of reset record with a state left for CLOSE. ingest/late.py sees to it that both are in one
batch. Waiting for the reset in the kernel was the alternative: a reset that really was received, or an end without a reset, has
no second event that would end the wait.
"""

from __future__ import annotations

import errno
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.decode import LAYOUT, Events
from tracer.ingest.sets import is_among, is_in
from tracer.ingest.transposed import RecordColumns, Transposed

_KINDS, _FLAGS = LAYOUT.enums["event_kind"], LAYOUT.enums["event_flag"]
_RESET, _ENDS = _KINDS["EVENT_RESET"], (_KINDS["EVENT_CLOSE"], _KINDS["EVENT_FAILURE"])
_CLOSE = LAYOUT.enums["tcp_state"]["STATE_CLOSE"]
_RECEIVED, _UNEXPLAINED = _FLAGS["FLAG_RESET_RECEIVED"], _FLAGS["FLAG_UNEXPLAINED"]

Rows = NDArray[np.intp]

OWN_ERRORS = (errno.ECONNRESET, errno.EPIPE)
"""What the kernel sets on a socket that it resets itself; another error is an older one, from ICMP say."""


def settle(events: Events) -> Events:
    """Return the batch with such ends as reset by this side, and without the resets that nobody sent.

    Unchanged, and not copied, when there are none. An end whose reset has not come keeps its first cause.
    """
    late = _late_resets(events)
    if not len(late):
        return events
    size = f"V{events.dtype.itemsize}"
    events = events.view(size).copy().view(events.dtype)  # of plain bytes: numpy copies structured arrays member by member
    for name, (places, values) in _causes(events, late).items():
        events[name][places] = values
    kept: Events = events.view(size)[_was_sent(events, late)].view(events.dtype)
    return kept


def settle_columns(records: Transposed) -> Transposed:
    """Return the same of records by columns, which are changed; copied where there are resets that nobody sent."""
    late = _late_resets(records)
    if not len(late):
        return records
    for name, (places, values) in _causes(records, late).items():
        records.put(name, places, values)
    sent = _was_sent(records, late)
    return records if sent.all() else records.where(sent)


def _late_resets(events: RecordColumns) -> Rows:
    """Return the places of the resets that this side sent after the end that they explain."""
    resets = np.flatnonzero(events["kind"] == _RESET)
    late: Rows = resets[(events["to_state"][resets] == _CLOSE) & (events["connection"][resets] != 0)]
    return late


def _causes(events: RecordColumns, late: Rows) -> dict[str, tuple[Rows, NDArray[Any]]]:
    """Return what the ends have from their resets: members by name, at which places, and their values."""
    order = late[np.argsort(events["connection"][late], kind="stable")]
    causes = events["connection"][order]
    ends = np.flatnonzero(is_among(events["connection"], causes) & (events["kind"] != _RESET))
    ends = ends[is_in(events["kind"][ends], _ENDS)]
    cause = order[np.searchsorted(causes, events["connection"][ends])]
    before, error = ~np.uint16(_RECEIVED | _UNEXPLAINED), events["error"][ends]
    return {
        "flags": (ends, events["flags"][ends] & before | events["flags"][cause]),
        "reset_reason": (ends, events["reset_reason"][cause]),
        "error": (ends, np.where(is_in(error, OWN_ERRORS), error, 0)),
    }


def _was_sent(events: RecordColumns, late: Rows) -> NDArray[np.bool_]:
    """Return which records, shape (n,), are not of resets that only seemed to have been received."""
    seeming = np.flatnonzero((events["kind"] == _RESET) & (events["flags"] & _RECEIVED != 0))
    sent = np.ones(len(events), bool)
    sent[seeming] = ~is_in(events["connection"][seeming], events["connection"][late])
    return sent
