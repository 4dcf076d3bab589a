"""Everything that is counted for each label set: a grid each, one row a set; and the Series that they make."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.figures import FIGURES
from tracer.ingest.snapshot import Snapshot
from tracer.model.alike import Alike
from tracer.model.backlogs import Backlogs
from tracer.model.bycount import ByCount
from tracer.model.connections import OpenConnections
from tracer.model.grid import Grid, frozen
from tracer.model.histogram import Durations
from tracer.model.labels import FIRST_ROLE, FIXED, OTHER_ROW, LabelSets
from tracer.model.ledger import Ledger
from tracer.model.report import Series
from tracer.model.tcp import CLOSE_REASONS, FAILURE_REASONS, RETRANSMIT_KINDS
from tracer.model.who import Handshakes, Who

Rows = NDArray[np.intp]

RESET_REASONS = 64
"""Numbers of the kernel's enum sk_rst_reason that are told apart (6.18 has 31); larger ones count as the last."""


class Tallies:
    """Grids by their names in Series; figures has a column each of FIGURES, which ledger adds.

    open: how many connections are open now, which is not counted here. start_ns: see Ledger. whose: whether to know who has
    them.
    """

    def __init__(self, open_: OpenConnections, sets: LabelSets, start_ns: int = 0, *, whose: bool = True) -> None:
        self.handshake_times, self.connection_times, self.srtt = Durations(), Durations(), Durations()
        self.handshakes = Grid(1, np.uint64)
        self.time_waits = Grid(1, np.uint64)
        self.failures = Grid(len(FAILURE_REASONS), np.uint64)
        self.closes = Grid(len(CLOSE_REASONS), np.uint64)
        self.retransmitted = Grid(len(RETRANSMIT_KINDS), np.uint64)
        self.failed_retransmits = Grid(1, np.uint64)
        self.resets_sent = Grid(RESET_REASONS, np.uint64)
        self.resets_received = Grid(1, np.uint64)
        self.figures = Grid(len(FIGURES), np.uint64)
        self.partial = Grid(1, np.uint64)
        self.open = open_
        self.ledger = Ledger(sets, self.figures, start_ns)
        self.who = Handshakes()
        self._all: list[Grid[Any] | Durations | OpenConnections | Ledger | Handshakes] = list(vars(self).values())
        self.backlogs = Backlogs()
        self._whose = whose
        self._rows = 0

    def opened(self, alike: Alike) -> None:
        """Take in connections that are open from now on."""
        self.open.opened(alike)
        self.ledger.opened(alike)
        if self._whose:
            self.who.opened(alike)
        if alike.part.has("process"):
            self.backlogs.note(alike.part)

    def closed(self, alike: Alike) -> None:
        """Take in connections that have ended."""
        self.open.closed(alike)
        self.ledger.closed(alike)

    def add_counts(self, sums: ByCount, rows: Rows) -> None:
        """Take in what the kernel has counted; rows: the label set of each place."""
        counted = sums.counted
        self.handshakes.add(rows, 0, sums.opened)
        self.closes.add(rows, CLOSE_REASONS.index("normal"), sums.closed)
        self.time_waits.add(rows, 0, counted.time_waits)
        self.figures.add_rows(rows, counted.figures)
        for durations, times in (
            (self.handshake_times, counted.handshakes),
            (self.connection_times, counted.durations),
            (self.srtt, counted.srtt),
        ):
            durations.add_counts(rows, times)
        self.open.add_counts(sums, rows)

    def add_snapshot(self, snapshot: Snapshot, now_ns: int) -> None:
        """Take in a dump of all sockets, behind all records from before its end."""
        self.open.add_snapshot(snapshot)
        self.ledger.add_snapshot(snapshot, now_ns)
        self.backlogs.add_snapshot(snapshot)

    def reserve(self, rows: int) -> None:
        """Have room for so many rows."""
        if rows > self._rows:
            self._rows = rows
            for grid in self._all:
                grid.reserve(rows)

    def fold(self, rows: Rows, onto: Rows) -> None:
        """Add rows to others, both of shape (n,), and empty them."""
        for grid in self._all:
            grid.fold(rows, onto)

    def series(self, sets: LabelSets) -> Series:
        """Return what was counted for OTHER_ROW, for those roles that have something in their `other`, and for all sets."""
        self.reserve(len(sets))
        rows = self._shown(sets)
        tenure = sets.tenure
        figures = self.figures.snapshot(rows)
        return Series(
            names=sets.names,
            labels=tuple(sets.sets[row] for row in rows.tolist()),
            serials=tenure.serials[rows],
            records=frozen(tenure.records[rows]),
            born_ns=tenure.born_ns[rows],
            active_ns=tenure.active_ns[rows],
            listens=tenure.listens[rows],
            handshakes=self.handshakes.snapshot(rows)[:, 0],
            connections=frozen(self.open.values(rows)),
            time_waits=self.time_waits.snapshot(rows)[:, 0],
            failures=self.failures.snapshot(rows),
            closes=self.closes.snapshot(rows),
            retransmitted=self.retransmitted.snapshot(rows),
            failed_retransmits=self.failed_retransmits.snapshot(rows)[:, 0],
            resets_sent=self.resets_sent.snapshot(rows),
            resets_received=self.resets_received.snapshot(rows)[:, 0],
            **{name: figures[:, place] for place, name in enumerate(FIGURES[:6])},
            limited_us=figures[:, 6:],
            queues=self.ledger.queues.snapshot(rows),
            rtt=self.ledger.rtt.snapshot(rows),
            partial=self.partial.snapshot(rows)[:, 0],
            handshake_times=self.handshake_times.snapshot(rows),
            connection_times=self.connection_times.snapshot(rows),
            srtt=self.srtt.snapshot(rows),
        )

    def whose(self, sets: LabelSets) -> Who:
        """Return whose connections the rows of series() are."""
        return self.who.snapshot(self._shown(sets))

    def _shown(self, sets: LabelSets) -> Rows:
        roles = [row for row in range(FIRST_ROLE, FIXED) if self._is_counted(row)]
        return np.array([OTHER_ROW, *roles, *sets.tenure.used()], np.intp)

    def _is_counted(self, row: int) -> bool:
        grids = (grid for grid in self._all if isinstance(grid, Grid))
        return any(grid.values[row].any() for grid in grids) or bool(self.open.held(row + 1)[row])
