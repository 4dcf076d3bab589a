"""Listeners keep label sets: a service that nobody has asked yet has its series, with zeros, and so has one that is idle.

Each dump of all sockets says who listens. Listeners are few beside connections, so that each is one Python call, and only when
they change. One that was there before takes a new set where there is room, and never another one's place: it would give way to
traffic, and come back with each dump.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.snapshot import Listening, Snapshot
from tracer.model.labelnames import BASE
from tracer.model.labels import FIXED, LabelSets

SHARE = 0.25
"""Of all label sets, what listeners may have at the cost of others."""


class Listeners:
    """Tells LabelSets who listens."""

    def __init__(self, sets: LabelSets) -> None:
        self._sets = sets
        self._last: tuple[Listening, ...] = ()
        self._last_ns = -1
        self._rows: NDArray[np.intp] = np.empty(0, np.intp)
        self._serials: NDArray[np.int64] = np.empty(0, np.int64)
        self._whole = True

    def add_snapshot(self, snapshot: Snapshot, now_ns: int) -> None:
        """Have the sets of those that listen in a dump, and have them stay; a dump may come more than once."""
        if snapshot.time_ns == self._last_ns:
            return
        self._last_ns = snapshot.time_ns
        tenure = self._sets.tenure
        left = len(self._present()) < len(self._rows)
        more = len(self._sets.names) > len(BASE)  # sets of a service that has several come at any time
        if left or more or not self._whole or snapshot.listening != self._last:
            self._find(snapshot.listening)
        tenure.active_ns[self._rows] = now_ns

    def hold(self, held: NDArray[np.bool_]) -> None:
        """Mark the rows of those that listen in held, shape (rows,)."""
        rows = self._present()
        held[rows[rows < len(held)]] = True

    def _present(self) -> NDArray[np.intp]:
        """Return the rows that still are of the sets that they were of."""
        same: NDArray[np.bool_] = self._sets.tenure.serials[self._rows] == self._serials
        return self._rows[same]

    def _find(self, listening: tuple[Listening, ...]) -> None:
        """Look up, or take in, the sets of all."""
        tenure = self._sets.tenure
        most = int((tenure.limit - FIXED) * SHARE)
        before = set(self._last)
        found: dict[int, None] = {}
        missing = 0
        tenure.listens[:] = False
        for listener in sorted(listening, key=lambda listener: listener not in before):
            rows = self._sets.listener_rows(listener, admit=listener not in before and len(found) < most)
            tenure.listens[rows] = len(found) < most
            found.update(dict.fromkeys(rows))
            missing += not rows
        self._last, self._whole = listening, not missing
        self._rows = np.array(list(found), np.intp)
        self._serials = tenure.serials[self._rows]
