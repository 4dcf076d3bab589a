"""The Model: readings in, Reports out.

Each kind of record has a short function that adds its columns to grids, a numpy call each. Exact counts (cells) are kept as is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.counted import Counted
from tracer.ingest.sets import is_in
from tracer.ingest.snapshot import Snapshot
from tracer.ingest.source import Context, Program, Reading
from tracer.ingest.transposed import Transposed
from tracer.kernel.settings import FAILED_RETRANSMISSIONS
from tracer.model.alike import Alike
from tracer.model.audit import Audit
from tracer.model.batch import Batch, Rows
from tracer.model.bycount import ByCount
from tracer.model.connections import OpenConnections
from tracer.model.elsewhere import Elsewhere
from tracer.model.grid import frozen
from tracer.model.labels import FIRST_ROLE, FIXED, MAX_SETS, OPENING, LabelSets
from tracer.model.listenersets import Listeners
from tracer.model.naming import Naming
from tracer.model.report import Report
from tracer.model.statetimes import StateTimes
from tracer.model.tallies import RESET_REASONS, Tallies
from tracer.model.tcp import (
    CELL,
    CLOSE_REASONS,
    FAILURE_REASONS,
    FLAG,
    KIND,
    KINDS,
    RETRANSMIT_KINDS,
    close_reasons,
    failure_reasons,
    is_restored,
    leaves_time_wait,
)
from tracer.model.unlisted import NO_EVENTS, Unlisted
from tracer.model.unrecorded import WHAT, Unrecorded
from tracer.model.waiting import Waiting

LOOK_NS = 1_000_000_000
"""Label sets that are idle are looked for so often."""


class Model:
    """Everything counted so far. Not for several threads: one adds and reports, the others read the Reports.

    context: of the source, passed on to the Report. labels, naming, max_sets, given: see LabelSets. label_ttl: seconds after
    which an idle label set leaves, None: never.
    start_ns: CLOCK_MONOTONIC when the tracing began; without it, as the context says, else that of the first reading.
    unlisted: whether to count the sockets of namespaces that are not listed, which takes as long as all else. exact: whether
    cells are of these events alone. whose: whether to know processes and peers.
    """

    def __init__(
        self,
        context: Context,
        *,
        labels: Sequence[str] = (),
        naming: Naming | None = None,
        max_sets: int = MAX_SETS,
        label_ttl: float | None = 3600,
        given: Collection[int] = (),
        start_ns: int | None = None,
        unlisted: bool = True,
        exact: bool = True,
        whose: bool = True,
    ) -> None:
        self._context = context
        self._start_ns = start_ns if start_ns is not None else context.start_ns or None
        self._sets = LabelSets(labels, naming, limit=max_sets, given=given, fold=self._fold, held=self._held)
        self._ttl_ns = None if label_ttl is None else int(label_ttl * 1e9)
        self._next_look_ns = 0
        self._elsewhere = Elsewhere()
        self._programs: tuple[Program, ...] = ()
        self._cells: NDArray[np.uint64] | None = None
        self._now_ns = 0
        self._snapshot: Snapshot | None = None
        self._audit = Audit(failures_unseen=FAILED_RETRANSMISSIONS in context.missing)
        self._unrecorded = Unrecorded()
        self._events = np.zeros(256, np.uint64)
        self._states = StateTimes()
        self._batch = Batch()
        self._open = OpenConnections(self._sets)
        self._listeners = Listeners(self._sets)
        self._waiting = Waiting(self._sets.find)
        self._exact, self._unlisted = exact, Unlisted() if unlisted else None
        self._counts = Tallies(self._open, self._sets, context.start_ns, whose=whose)
        self._counts.reserve(FIXED)
        self._adding = {
            KIND["handshake"]: self._add_handshakes,
            KIND["failure"]: self._add_failures,
            KIND["close"]: self._add_closes,
            KIND["retransmit"]: self._add_retransmits,
            KIND["reset"]: self._add_resets,
        }

    def add(self, reading: Reading) -> None:
        """Take in a reading; readings come in the order of their time."""
        if self._start_ns is None:
            self._start_ns = reading.time_ns
        self._now_ns, self._programs, self._cells = reading.time_ns, reading.programs, reading.cells
        is_dump = reading.snapshot is not None and reading.snapshot is not self._snapshot
        if reading.snapshot:
            self._snapshot = reading.snapshot
            if self._unlisted:
                self._unlisted.leave_out(reading.snapshot)
        if reading.kernel_counts:
            self._audit.add(reading.kernel_counts, reading.cells)
        for what, role, count in self._unrecorded.add(reading.cells):
            self._add_unrecorded(what, FIRST_ROLE + role, count)
        self._add_counted(reading.counted)  # before the records, among which are ends of these connections
        self._batch.add(reading.events if reading.columns is None else reading.columns)
        if is_dump or self._batch.is_full:
            self._add_batch()
        self._count_waiting(reading.time_ns)
        if reading.snapshot:
            self._counts.add_snapshot(reading.snapshot, reading.time_ns)
            self._listeners.add_snapshot(reading.snapshot, reading.time_ns)
        self._expire(reading.time_ns)

    def _add_counted(self, looks: Sequence[Counted]) -> None:
        """Count what had no records."""
        for sums in map(ByCount.of, looks):
            self._events[KIND["handshake"]] += sums.opened.sum()
            self._events[KIND["close"]] += sums.closed.sum()
            rows = self._sets.rows(sums.records, self._now_ns, numbers=sums.opened + sums.closed)
            self._counts.reserve(len(self._sets))
            self._counts.add_counts(sums, rows)
            self._states.add_counts(sums.counted.states)
            if self._unlisted:
                self._unlisted.add_counts(sums)

    def finish(self) -> None:
        """Count all that waits, as at the end."""
        self._add_batch()
        self._count_waiting(None)

    def _add_batch(self) -> None:
        """Count the records that have come; a dump is held against counts with all records from before it."""
        if self._batch:
            self._add_events(self._batch.take())

    def _count_waiting(self, now_ns: int | None) -> None:
        """Count what waits for its label set and has waited for long enough; without a time all of it."""
        for count in self._waiting.due(now_ns):
            self._counts.reserve(len(self._sets))
            self._counts.retransmitted.add(np.array([count.row]), count.kind, count.segments)

    def _expire(self, now_ns: int) -> None:
        if self._ttl_ns is not None and now_ns >= self._next_look_ns:
            self._add_batch()
            self._next_look_ns = now_ns + LOOK_NS
            self._sets.expire(now_ns - self._ttl_ns)

    def _fold(self, rows: Rows, onto: Rows) -> None:
        self._counts.reserve(len(self._sets))
        self._counts.fold(rows, onto)

    def _held(self, rows: int) -> NDArray[np.bool_]:
        held = self._open.held(rows)
        self._listeners.hold(held)
        return held

    def _add_events(self, events: Transposed) -> None:
        alike = Alike.among(events, self._sets.telling(events))
        np.add.at(self._events, alike.examples["kind"], alike.numbers)
        states = alike.examples["kind"] == KIND["state"]
        if np.count_nonzero(states):  # counted in the kernel, exactly; they must not open label sets
            self._add_restored(alike.where(states & is_restored(alike.examples)))
            alike = alike.where(~states)
        if self._unlisted:
            self._unlisted.add(alike)
        for kind, its in self._in_rows(alike).by_kind():
            if kind in self._adding:
                self._adding[kind](its)

    def _in_rows(self, alike: Alike) -> Alike:
        """Return the same with their label sets, for each of which there is room."""
        rows = self._sets.rows(alike.examples, self._now_ns, numbers=alike.numbers, services=alike.services)
        self._counts.reserve(len(self._sets))
        return alike.in_rows(rows)

    def _add_handshakes(self, alike: Alike) -> None:
        self._counts.handshakes.add(alike.rows, 0, alike.numbers)
        self._counts.opened(alike)
        timed = alike.without("handshake_unknown")
        self._counts.handshake_times.add(timed.rows, timed.part["handshake_ns"], timed.numbers)

    def _add_restored(self, alike: Alike) -> None:
        """Add what TCP_REPAIR has restored: connections that are open without a handshake."""
        if len(alike.part):
            self._counts.opened(self._in_rows(alike))

    def _add_failures(self, alike: Alike) -> None:
        examples, rows = alike.examples, alike.rows
        self._elsewhere.add(alike.where(rows < FIXED), resets=False)
        reasons = failure_reasons(examples["from_state"], examples["error"], examples["flags"])
        self._counts.failures.add(rows, reasons, alike.numbers)
        self._states.add(alike.without("partial"))

    def _add_closes(self, alike: Alike) -> None:
        examples, rows, flags = alike.examples, alike.rows, alike.examples["flags"]
        reasons = close_reasons(examples["from_state"], examples["error"], flags)
        self._counts.closes.add(rows, reasons, alike.numbers)
        self._counts.time_waits.add(rows, 0, alike.numbers * leaves_time_wait(flags))
        # 0 is no measurement: nothing of the connection's was ever acknowledged.
        self._counts.srtt.add(rows, alike.part.number("srtt_us") * np.uint64(1000), alike.numbers, zeros=False)
        lives = alike.without("partial")  # what only connections seen from their start can tell
        if lives is not alike:
            self._counts.partial.add(rows, 0, alike.numbers * (flags & FLAG["partial"] != 0))
        self._counts.closed(alike)
        self._counts.connection_times.add(lives.rows, lives.part["duration_ns"], lives.numbers)
        self._states.add(lives)

    def _add_unrecorded(self, what: int, row: int, count: int) -> None:
        """Add what the kernel counted without a record; see unrecorded.py."""
        self._counts.reserve(len(self._sets))
        kind = what - WHAT["retransmitted"]
        if what == WHAT["retransmit_failed"]:
            grid, column = self._counts.failed_retransmits, 0
        elif kind > 0:
            grid, column = self._counts.retransmitted, min(kind, len(RETRANSMIT_KINDS) - 1)
        else:
            grid, column = {
                WHAT["handshake"]: (self._counts.handshakes, 0),
                WHAT["failure"]: (self._counts.failures, FAILURE_REASONS.index("other")),
                WHAT["close"]: (self._counts.closes, CLOSE_REASONS.index("other")),
                WHAT["reset_sent"]: (self._counts.resets_sent, 0),
                WHAT["reset_received"]: (self._counts.resets_received, 0),
            }[what]
        grid.add(np.array([row]), column, count)

    def _add_retransmits(self, alike: Alike) -> None:
        part, rows = alike.part, alike.spread(alike.rows)
        failed = part["flags"] & FLAG["failed"] != 0
        segments = part["segments"]
        self._counts.failed_retransmits.add(rows[failed], 0, segments[failed])
        kind = np.minimum(part["retransmit_kind"], len(RETRANSMIT_KINDS) - 1)
        counted = ~failed
        waits = np.flatnonzero(counted & (rows < FIXED) & is_in(kind, OPENING))
        if len(waits):
            keys = self._sets.keys(part.at(waits))
            taken = self._waiting.add(keys, rows[waits], kind[waits], segments[waits], self._now_ns)
            counted[waits[:taken]] = False
        self._counts.retransmitted.add(rows[counted], kind[counted], segments[counted])

    def _add_resets(self, alike: Alike) -> None:
        self._elsewhere.add(alike.where(alike.rows < FIXED), resets=True)
        part, rows = alike.part, alike.spread(alike.rows)
        # A reset's record has one of the two flags, whatever else its connection saw (bpf/reset.c).
        flags = part["flags"]
        self._counts.resets_received.add(rows[flags & FLAG["reset_received"] != 0], 0)
        sent = flags & FLAG["reset_sent"] != 0
        reason = np.where(flags & FLAG["reset_reason"] != 0, part["reset_reason"], 0)
        self._counts.resets_sent.add(rows[sent], np.minimum(reason[sent], RESET_REASONS - 1))

    def report(self) -> Report:
        """Return a snapshot, which later readings do not change."""
        self._add_batch()
        self._count_waiting(self._now_ns)
        now_ns, cells = self._now_ns, self._cells
        return Report(
            context=self._context,
            time_ns=now_ns,
            duration_seconds=0.0 if cells is None else (now_ns - (self._start_ns or 0)) / 1e9,
            series=self._counts.series(self._sets),
            state_times=self._states.snapshot(),
            events=frozen(self._events[: len(KINDS)]),
            label_overflow=self._sets.overflowed,
            programs=self._programs,
            transitions=frozen(cells[:256].reshape(16, 16)) if cells is not None and self._exact else None,
            snapshot=self._snapshot,
            unlisted=self._unlisted.report(now_ns) if self._unlisted and self._snapshot else NO_EVENTS,
            events_lost=self._cell("events_lost"),
            untracked=self._cell("untracked"),
            partial=self._cell("partial"),
            unreached=self._cell("unreached"),
            refused=self._cell("events_refused"),
            audit=self._audit.lines,
            workloads=self._sets.workloads(),
            unseen_beginnings=self._open.unseen_beginnings,
            unseen_ends=self._open.unseen_ends,
            elsewhere=self._elsewhere.largest(),
            listeners=self._counts.backlogs.rows(),
            leaks=self._counts.ledger.leaks,
            who=self._counts.whose(self._sets),
        )

    def _cell(self, name: str) -> int | None:
        return None if self._cells is None else int(self._cells[CELL[name]])
