"""Connections that are open now, by label set: those seen from their start, and those that were there before.

The first are counted by their records, up at the handshake and down at the close. The others come from the first snapshot,
by service only, since a socket's list does not know the other labels: those are empty for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.decode import Events
from tracer.model.grid import Grid
from tracer.model.labels import BASE, LabelSets, service_ports
from tracer.model.older import Service
from tracer.model.tcp import ROLES

Rows = NDArray[np.intp]


class OpenConnections:
    """Two counts for each label set, of connections seen from their start and of older ones; neither is ever negative."""

    def __init__(self, sets: LabelSets) -> None:
        self._sets = sets
        self._tracked = Grid(1, np.float64)
        self._older = Grid(1, np.float64)

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

    def seed(self, older: Mapping[Service, int]) -> None:
        """Take in what was open at the first snapshot; what is tracked by now was in it too."""
        for (role, port), count in older.items():
            tracked = sum(self._tracked.values[row, 0] for row in self._rows_of(role, port))
            row = self._sets.service_row(role, port)
            self.reserve(len(self._sets))
            self._older.values[row, 0] += max(count - tracked, 0)

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
        services = events["role"].astype(np.int64) << 16 | service_ports(events)
        counts = np.bincount(services)
        for service in np.flatnonzero(counts):
            row = self._sets.service_row(ROLES[service >> 16], int(service & 0xFFFF))
            self.reserve(len(self._sets))
            self._older.values[row, 0] = max(self._older.values[row, 0] + by * counts[service], 0)

    def _rows_of(self, role: str, port: int) -> Iterable[int]:
        return (row for row, values in enumerate(self._sets.sets) if values[: len(BASE)] == (role, str(port)))
