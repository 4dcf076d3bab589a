"""Connections that are open now, by label set: those seen from their start, and those that were there before.

The first are counted by their records, up at the handshake and down at the close. The others come from the first snapshot,
by service only, since a socket's list does not know the other labels: those are empty for them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.decode import Events
from tracer.model.grid import Grid
from tracer.model.labels import BASE, Columns, LabelSets, service_ports
from tracer.model.older import Service
from tracer.model.tcp import ROLES

Rows = NDArray[np.intp]
Codes = NDArray[np.int64]
"""Services of records as one number each: the role's above the port's 16 bits."""

REMEMBERED_NS = 10_000_000_000
"""How long changes are kept for the first snapshot: longer than a dump of any size takes to arrive."""


class OpenConnections:
    """Two counts for each label set, of connections seen from their start and of older ones; neither is ever negative.

    seeded: whether the first snapshot has been taken in.
    """

    def __init__(self, sets: LabelSets) -> None:
        self._sets = sets
        self._tracked = Grid(1, np.float64)
        self._older = Grid(1, np.float64)
        self._changes: deque[tuple[Codes, NDArray[np.uint64], int]] = deque()
        self.seeded = False

    def reserve(self, rows: int) -> None:
        """Have room for so many label sets."""
        self._tracked.reserve(rows)
        self._older.reserve(rows)

    def opened(self, rows: Rows) -> None:
        """Add one to each of these label sets."""
        self._tracked.add(rows, 0, 1)

    def closed(self, rows: Rows) -> None:
        """Take one from each; a lost record of a handshake must not make later numbers too small for ever."""
        self._tracked.add(rows, 0, -1)
        np.maximum(self._tracked.values, 0, out=self._tracked.values)

    def remember(self, part: Columns, by: int) -> None:
        """Keep what changed a count, by one a record, for the first snapshot: it tells of a moment before some of that."""
        times = part["time_ns"]
        self._changes.append((_codes(part), times, by))
        while self._changes[0][1][-1] + REMEMBERED_NS < times[-1]:
            self._changes.popleft()

    def seed(self, older: Iterable[tuple[Service, int]], time_ns: int) -> None:
        """Take in what was open at the first snapshot, at time_ns; what was tracked by then was in it too."""
        counts = dict(older)
        for codes, times, by in self._changes:
            for service, count in _counts(codes[times > time_ns]):
                counts[service] = counts.get(service, 0) + by * count
        for (role, port), count in counts.items():
            tracked = sum(self._tracked.values[row, 0] for row in self._rows_of(role, port))
            self._set_older(role, port, count - tracked)
        self._changes.clear()
        self.seeded = True

    def older_opened(self, events: Events) -> None:
        """Add connections whose beginning was not seen, but whose handshake was."""
        self._change_older(events, 1)

    def older_closed(self, events: Events) -> None:
        """Take off older connections that have closed."""
        self._change_older(events, -1)

    def values(self, rows: int) -> NDArray[np.uint64]:
        """Return the connections open now of the first label sets, shape (rows,)."""
        return (self._tracked.values[:rows, 0] + self._older.values[:rows, 0]).astype(np.uint64)

    def _change_older(self, events: Events, by: int) -> None:
        for (role, port), count in _counts(_codes(events)):
            row = self._sets.service_row(role, port)
            self.reserve(len(self._sets))
            self._set_older(role, port, self._older.values[row, 0] + by * count)

    def _set_older(self, role: str, port: int, count: float) -> None:
        row = self._sets.service_row(role, port)
        self.reserve(len(self._sets))
        self._older.values[row, 0] = max(count, 0)

    def _rows_of(self, role: str, port: int) -> Iterable[int]:
        return (row for row, values in enumerate(self._sets.sets) if values[: len(BASE)] == (role, str(port)))


def _codes(events: Columns) -> Codes:
    codes: Codes = events["role"].astype(np.int64) << 16 | service_ports(events)
    return codes


def _counts(codes: Codes) -> Iterable[tuple[Service, int]]:
    """Yield each service, and how often it is there."""
    counts = np.bincount(codes)
    return (((ROLES[code >> 16], int(code & 0xFFFF)), int(counts[code])) for code in np.flatnonzero(counts))
