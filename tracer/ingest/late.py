"""The ring's records, but no end before the reset that explains it.

The kernel sends a reset of its own right after the change of state that it explains, so that the end's record comes first
(bpf/end.h), and before it sometimes one of a reset that only seems to have been received (bpf/reset.c). Where a look at the
ring falls between them, the reader waits five milliseconds and looks once more; what came meanwhile and is not explained yet
stays in the ring. So every reading has all that came before it was asked for, in the order of the ring, and an end and its
reset are in one batch: for the metrics, the events, and a recording alike.

The alternatives: to wait in the kernel, where an end that no reset follows would wait for ever; and to correct the counts in a
later batch, where counters would fall. Five milliseconds are hundreds of times what lies between the two records, and what a
hypervisor takes a CPU away for as a rule. Where a process could lose its CPU in between, the end's record says by itself that
we reset it, and the reset's record only adds the kernel's word for why (reset_follows() in bpf/end.h); where nothing but the
reset tells, no other thread can run before it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.clock import kernel_ns
from tracer.ingest.decode import LAYOUT, Events
from tracer.ingest.sets import is_in
from tracer.ingest.transposed import RecordColumns

PATIENCE_NS = 5_000_000

_UNEXPLAINED = LAYOUT.enums["event_flag"]["FLAG_UNEXPLAINED"]
_RESET = LAYOUT.enums["event_kind"]["EVENT_RESET"]
_CLOSE = LAYOUT.enums["tcp_state"]["STATE_CLOSE"]


Copy = TypeVar("Copy", bound=RecordColumns)


class Records(Protocol):
    """What gives the records that have come: the ring."""

    def look(self) -> list[Events]:
        """Return those that were not let go of, where they lie, in runs of shape (n,)."""

    def let_go(self, records: int) -> None:
        """Have so many of them, the first ones, come no more."""


class Explained(Generic[Copy]):
    """The same records as the ring's, in the same order, with each end beside its reset. copied: copies runs of records."""

    def __init__(self, ring: Records, copied: Callable[[Sequence[Events]], Copy]) -> None:
        self._ring = ring
        self._copied = copied

    def read(self) -> Copy:
        """Return all records that have come up to the call; takes milliseconds longer when an end is not explained."""
        found = self._copied(self._ring.look())
        waiting = unexplained(found)
        if len(waiting):
            asked_ns, newest = kernel_ns(), int(found["time_ns"][waiting].max())
            if newest + PATIENCE_NS > asked_ns:
                time.sleep((newest + PATIENCE_NS - asked_ns) / 1e9)
                found = self._explained(asked_ns)
        self._ring.let_go(len(found))
        return found

    def _explained(self, asked_ns: int) -> Copy:
        """Return all that is there by now up to the first that came since then and is not explained."""
        runs = self._ring.look()
        found = self._copied(runs)
        times = found["time_ns"]
        fresh = [place for place in unexplained(found).tolist() if times[place] > asked_ns]
        return self._copied(first_of(runs, fresh[0])) if fresh else found


def first_of(runs: Sequence[Events], records: int) -> list[Events]:
    """Return so many records, the first ones."""
    found = []
    for run in runs:
        found.append(run[:records])
        records -= len(found[-1])
    return found


def unexplained(events: RecordColumns) -> NDArray[np.intp]:
    """Return the places of the ends, and seeming resets, that a reset may explain which is not among the events, in order."""
    ends = np.flatnonzero(events["flags"] & _UNEXPLAINED)
    if not len(ends):
        return ends
    resets = events["connection"][(events["kind"] == _RESET) & (events["to_state"] == _CLOSE)]
    return ends[~is_in(events["connection"][ends], resets)]
