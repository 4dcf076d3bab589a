"""The ring's records, but no end before the reset that explains it.

The kernel sends a reset of its own right after the change of state that it explains, so that the end's record comes first
(bpf/end.h), and before it sometimes one of a reset that only seems to have been received (bpf/reset.c). Where a look at the
ring falls between them, the reader waits five milliseconds and looks once more; what came meanwhile and is not explained yet
stays for the next reading. So every reading has all that came before it was asked for, in the order of the ring, and an end
and its reset are in one batch: for the metrics, the events, and a recording alike.

The alternatives: to wait in the kernel, where an end that no reset follows would wait for ever; and to correct the counts in a
later batch, where counters would fall. Five milliseconds are hundreds of times what lies between the two records, and what a
hypervisor takes a CPU away for as a rule. Where a process
could lose its CPU in between, the end's record says by itself that we reset it, and the reset's record only adds the kernel's
word for why (reset_follows() in bpf/end.h); where nothing but the reset tells, no other thread can run before it.
"""

from __future__ import annotations

import time
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.clock import kernel_ns
from tracer.ingest.decode import EVENT, LAYOUT, Events

PATIENCE_NS = 5_000_000

_UNEXPLAINED = LAYOUT.enums["event_flag"]["FLAG_UNEXPLAINED"]
_RESET = LAYOUT.enums["event_kind"]["EVENT_RESET"]
_CLOSE = LAYOUT.enums["tcp_state"]["STATE_CLOSE"]


class Records(Protocol):
    """What gives the records that have come since it was asked before: the ring."""

    def read(self) -> NDArray[np.void]:
        """Return them, shape (n,)."""


class Explained:
    """The same records as the ring's, in the same order, with each end beside its reset."""

    def __init__(self, ring: Records) -> None:
        self._ring = ring
        self._kept: Events = np.empty(0, EVENT)

    def read(self) -> Events:
        """Return all records that have come up to the call; takes milliseconds longer when an end is not explained."""
        events = _joined(self._kept, self._ring.read())
        if not len(events):
            return events
        asked_ns = kernel_ns()
        newest = events["time_ns"][unexplained(events)].max(initial=0)
        if newest + PATIENCE_NS > asked_ns:
            time.sleep((int(newest) + PATIENCE_NS - asked_ns) / 1e9)
            events = _joined(events, self._ring.read())
        fresh = [place for place in unexplained(events) if events["time_ns"][place] > asked_ns]
        end = fresh[0] if fresh else len(events)
        self._kept = events[end:]
        return events[:end]


def unexplained(events: Events) -> NDArray[np.intp]:
    """Return the places of the ends, and seeming resets, that a reset may explain which is not among the events, in order."""
    ends = np.flatnonzero(events["flags"] & _UNEXPLAINED)
    if not len(ends):
        return ends
    resets = events["connection"][(events["kind"] == _RESET) & (events["to_state"] == _CLOSE)]
    return ends[~np.isin(events["connection"][ends], resets)]


def _joined(first: Events, second: Events) -> Events:
    # of plain bytes, since numpy copies structured arrays member by member
    if not len(first):
        return second
    size = f"V{first.dtype.itemsize}"
    return np.concatenate((first.view(size), second.view(size))).view(first.dtype)
