"""Ends that were told before their cause was known, put right within their batch.

When data arrive after close(), the kernel resets its own socket as if a reset had been received (tcp_reset, which fires the
tracepoint of received resets), and only then sends one. The end is on its way by then; the reset's record follows within
microseconds and is the only kind of reset record with a state left for CLOSE. Waiting for it in the kernel was the
alternative: a reset that really was received has no second event that would end the wait.
"""

from __future__ import annotations

import numpy as np

from tracer.ingest.decode import Events
from tracer.model.tcp import FLAG, KIND, STATE


def settle(events: Events) -> Events:
    """Return the batch with such ends as reset by this side, and without the resets that nobody sent.

    Unchanged, and not copied, when there are none. One whose records lie in two batches keeps its first cause.
    """
    late = (events["kind"] == KIND["reset"]) & (events["to_state"] == STATE["close"]) & (events["connection"] != 0)
    if not late.any():
        return events
    causes = events[late]
    events = events.copy()
    mine = np.isin(events["connection"], causes["connection"])
    ends = np.flatnonzero(mine & (events["kind"] == KIND["close"]))
    order = np.argsort(causes["connection"], kind="stable")
    cause = causes[order][np.searchsorted(causes["connection"][order], events["connection"][ends])]
    events["flags"][ends] = events["flags"][ends] & ~np.uint16(FLAG["reset_received"]) | cause["flags"]
    events["reset_reason"][ends] = cause["reset_reason"]
    never_sent = mine & (events["kind"] == KIND["reset"]) & (events["flags"] & FLAG["reset_received"] != 0)
    kept: Events = events[~never_sent]
    return kept
