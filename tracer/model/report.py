"""A Report: everything the outputs need, frozen at one moment, for any thread to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.snapshot import Snapshot
from tracer.ingest.source import Context, Program
from tracer.ingest.workloads import Workload
from tracer.model.audit import AuditLine
from tracer.model.backlogs import Listener
from tracer.model.elsewhere import Tried
from tracer.model.histogram import Histogram, quantile
from tracer.model.leaks import Leak
from tracer.model.naming import OTHER
from tracer.model.tcp import CLOSE_REASONS, FAILURE_REASONS, RETRANSMIT_KINDS
from tracer.model.unlisted import NO_EVENTS, EventSockets
from tracer.model.who import NOBODY, Who

Counts = NDArray[np.uint64]

LIMITS = ("receive_window", "send_buffer")
"""What can keep a sender from sending: the other side's window, and its own buffer."""

BY_EVENTS = " (events)"
"""What is put behind a destination for people, where only events tell of its sockets."""


@dataclass(frozen=True)
class Series:
    """What was counted for each label set; row i belongs to labels[i].

    Row 0 is `other` in all labels and has nothing; an output's own series (outputs/budget.py) lack it. After
    it come those of a role whose other labels are `other`, as far as anything was counted there. serials: which set a row is, 0
    for those. records: how many were counted in it. born_ns, active_ns: when it came, and when its last record did.
    listens: whether somebody listens for it.
    names: of the labels, role and port first. All counts are uint64.
    Shape (rows,): handshakes; connections (open now); time_waits (closes that left a
    timewait object); resets_received; sent_bytes and received_bytes (payload), sent_segments, received_segments,
    out_of_order_segments, busy_us (all six of closed connections, and of open ones as of the last dump);
    failed_retransmits (attempts that never left); partial (closes of existing connections). Shape (rows, reasons or kinds):
    failures by FAILURE_REASONS, closes by CLOSE_REASONS, retransmitted (segments)
    by RETRANSMIT_KINDS, resets_sent by the kernel's number, limited_us by LIMITS. handshake_times has fewer observations than
    handshakes where the kernel had no honest value.
    Of open connections, as of the last dump: queues (bytes), shape (rows, len(QUEUES)); rtt (seconds, 0 where there is none),
    float64, shape (rows, len(RTT_QUANTILES)).
    """

    names: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    handshakes: Counts
    connections: Counts
    time_waits: Counts
    failures: Counts
    closes: Counts
    retransmitted: Counts
    failed_retransmits: Counts
    resets_sent: Counts
    resets_received: Counts
    sent_bytes: Counts
    received_bytes: Counts
    sent_segments: Counts
    received_segments: Counts
    out_of_order_segments: Counts
    busy_us: Counts
    limited_us: Counts
    queues: Counts
    rtt: NDArray[np.float64]
    partial: Counts
    handshake_times: Histogram
    connection_times: Histogram
    srtt: Histogram
    serials: NDArray[np.int64]
    records: Counts
    born_ns: NDArray[np.int64]
    active_ns: NDArray[np.int64]
    listens: NDArray[np.bool_]


@dataclass(frozen=True)
class Report:
    """A snapshot of the model, immutable.

    time_ns: CLOCK_MONOTONIC of the last reading, 0 before the first one. duration_seconds: from the start to then.
    state_times: time spent in each state by connections that ended, row = number in STATES.
    events: records seen by kind, by number in KINDS, and handshakes and ends that the kernel has counted without one.
    transitions: exact, [from, to] by number in STATES. snapshot: the sums over all sockets.
    unlisted: what events tell of namespaces whose sockets are not among those; nothing before the first snapshot.
    What the source has not said yet is None: transitions, events_lost, untracked, partial, unreached and refused before the
    first reading, the snapshot before the first one. unreached: changes of state that reached no program, as later ones show.
    refused: of the events lost, those that a ring with room refused. label_overflow: records that were counted under `other`.
    audit: empty before the kernel's counters were seen. workloads: whose the label sets are, with the label `container` alone.
    unseen_beginnings, unseen_ends: connections that a dump of all sockets found open, or no longer, although no record said so.
    elsewhere: of the failures and resets that have no label set of their own, the ports with most.
    listeners: the fullest first. leaks: those that only one side has closed, CLOSE_WAIT first, the largest first; None before
    a dump with figures. who: whose connections each row of series has.
    """

    context: Context
    time_ns: int
    duration_seconds: float
    series: Series
    state_times: Histogram
    events: Counts
    label_overflow: int
    programs: tuple[Program, ...] = ()
    transitions: Counts | None = None
    snapshot: Snapshot | None = None
    unlisted: EventSockets = NO_EVENTS
    events_lost: int | None = None
    untracked: int | None = None
    partial: int | None = None
    unreached: int | None = None
    refused: int | None = None
    audit: tuple[AuditLine, ...] = ()
    workloads: tuple[Workload, ...] = ()
    unseen_beginnings: int = 0
    unseen_ends: int = 0
    elsewhere: tuple[Tried, ...] = ()
    listeners: tuple[Listener, ...] = ()
    leaks: tuple[Leak, ...] | None = None
    who: Who = NOBODY

    @property
    def sockets(self) -> Mapping[str, int] | None:
        """Sockets by state name, None without a snapshot."""
        return self.snapshot.states if self.snapshot else None

    @property
    def places(self) -> Snapshot | None:
        """The snapshot, with what events tell of other namespaces behind its rows; such destinations end in BY_EVENTS."""
        if self.snapshot is None:
            return None
        waiting = tuple((name + BY_EVENTS, count) for name, count in self.unlisted.time_wait)
        uses = tuple(replace(use, destination=use.destination + BY_EVENTS) for use in self.unlisted.ports)
        return replace(self.snapshot, time_wait=self.snapshot.time_wait + waiting, ports=self.snapshot.ports + uses)

    @property
    def snapshot_age_seconds(self) -> float | None:
        """How old the snapshot was at the last reading, None without one."""
        return max(self.time_ns - self.snapshot.time_ns, 0) / 1e9 if self.snapshot else None

    @property
    def figures_age_seconds(self) -> float | None:
        """How old the figures of open connections were then, None without any."""
        figures = self.snapshot.figures if self.snapshot else None
        return max(self.time_ns - figures.end_ns, 0) / 1e9 if figures else None


@dataclass(frozen=True)
class Service:
    """One label set, for views that people read. labels: the names and values of those that --label added.

    failures, closes and retransmitted: by name, zeros left out. times: a Histogram of one row.
    """

    role: str
    port: str
    handshakes: int
    connections: int
    failures: Mapping[str, int]
    closes: Mapping[str, int]
    retransmitted: Mapping[str, int]
    times: Histogram
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> tuple[str, ...]:
        """The values of all labels, which tell services apart."""
        return self.role, self.port, *(value for _, value in self.labels)

    @property
    def name(self) -> str:
        """Role and port, and what else is known; `other` once for what has no more of its own."""
        known = [value for value in self.key if value]
        while len(known) > 1 and known[-1] == known[-2] == OTHER:
            known.pop()
        return " ".join(known)

    @property
    def failed(self) -> int:
        """Handshakes that failed, for any reason."""
        return sum(self.failures.values())

    @property
    def closed(self) -> int:
        """Connections that ended, for any reason."""
        return sum(self.closes.values())

    @property
    def seen(self) -> int:
        """Connections of whatever fate, each once: open ones, those that ended, and those that never came to be."""
        return self.connections + self.closed + self.failed

    @property
    def wrong(self) -> int:
        """How much went wrong: handshakes that failed, connections that did not end normally, retransmitted segments."""
        return self.failed + self.closed - self.closes.get("normal", 0) + self.segments

    @property
    def segments(self) -> int:
        """Retransmitted segments of any kind."""
        return sum(self.retransmitted.values())

    def quantile(self, q: float) -> float | None:
        """Return the q-quantile of handshake times in seconds, None when none is known; q = 1 is the exact maximum."""
        value = float(quantile(self.times, q)[0])
        return None if np.isnan(value) else value


def services(report: Report) -> list[Service]:
    """Return every label set with anything counted: where most is wrong first, then where most happened, `other` last."""
    found = [_service(report.series, key, slice(row, row + 1)) for row, key in enumerate(report.series.labels)]
    used = [s for s in found if s.handshakes or s.failed or s.closed or s.segments]
    return sorted(used, key=_worst_first)


def _worst_first(service: Service) -> tuple[Any, ...]:
    size, rest = service.handshakes + service.failed, service.closed + service.segments
    return service.role == OTHER, -service.wrong, -size, -rest, service.role, len(service.port), service.key


def summed(report: Report, group: Sequence[Service]) -> Service:
    """Return several services as one, whose name says how many they are."""
    keys = {service.key for service in group}
    rows = [row for row, labels in enumerate(report.series.labels) if labels in keys]
    return _service(report.series, (f"among the others: {len(group)}", ""), np.array(rows, np.intp))


def named(names: Sequence[str], counts: Counts) -> dict[str, int]:
    """Return counts, shape (names,), by name without the zeros."""
    return {name: int(count) for name, count in zip(names, counts, strict=True) if count}


def _service(series: Series, key: tuple[str, ...], rows: slice | NDArray[np.intp]) -> Service:
    times = series.handshake_times
    return Service(
        role=key[0],
        port=key[1],
        handshakes=int(series.handshakes[rows].sum()),
        connections=int(series.connections[rows].sum()),
        failures=_named_sums(FAILURE_REASONS, series.failures[rows]),
        closes=_named_sums(CLOSE_REASONS, series.closes[rows]),
        retransmitted=_named_sums(RETRANSMIT_KINDS, series.retransmitted[rows]),
        times=times.of(rows) if isinstance(rows, slice) else times.merged(rows),
        labels=tuple(zip(series.names[2:], key[2:], strict=False)),
    )


def _named_sums(names: Sequence[str], counts: Counts) -> dict[str, int]:
    return named(names, counts.sum(axis=0)) if counts.any() else {}
