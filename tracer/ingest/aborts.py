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

import numpy as np

from tracer.ingest.decode import LAYOUT, Events
from tracer.ingest.transposed import is_among

_KINDS, _FLAGS = LAYOUT.enums["event_kind"], LAYOUT.enums["event_flag"]
_RESET, _ENDS = _KINDS["EVENT_RESET"], (_KINDS["EVENT_CLOSE"], _KINDS["EVENT_FAILURE"])
_CLOSE = LAYOUT.enums["tcp_state"]["STATE_CLOSE"]
_RECEIVED, _UNEXPLAINED = _FLAGS["FLAG_RESET_RECEIVED"], _FLAGS["FLAG_UNEXPLAINED"]

OWN_ERRORS = (errno.ECONNRESET, errno.EPIPE)
"""What the kernel sets on a socket that it resets itself; another error is an older one, from ICMP say."""


def settle(events: Events) -> Events:
    """Return the batch with such ends as reset by this side, and without the resets that nobody sent.

    Unchanged, and not copied, when there are none. An end whose reset has not come keeps its first cause.
    """
    resets = np.flatnonzero(events["kind"] == _RESET)
    late = resets[(events["to_state"][resets] == _CLOSE) & (events["connection"][resets] != 0)]
    if not len(late):
        return events
    size = f"V{events.dtype.itemsize}"
    events = events.view(size).copy().view(events.dtype)  # of plain bytes: numpy copies structured arrays member by member
    order = late[np.argsort(events["connection"][late], kind="stable")]
    causes = events["connection"][order]
    mine = np.flatnonzero(is_among(events["connection"], causes))
    kinds = events["kind"][mine]
    ends = mine[np.isin(kinds, _ENDS)]
    cause = order[np.searchsorted(causes, events["connection"][ends])]
    before = ~np.uint16(_RECEIVED | _UNEXPLAINED)
    events["flags"][ends] = events["flags"][ends] & before | events["flags"][cause]
    events["reset_reason"][ends] = events["reset_reason"][cause]
    events["error"][ends] = np.where(np.isin(events["error"][ends], OWN_ERRORS), events["error"][ends], 0)
    sent = np.ones(len(events), bool)
    sent[mine] = (kinds != _RESET) | (events["flags"][mine] & _RECEIVED == 0)
    kept: Events = events.view(size)[sent].view(events.dtype)
    return kept
