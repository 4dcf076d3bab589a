"""The table of metrics: one row each, from its name to how it is taken out of a Report.

Whoever wants to know what is exported reads METRICS; prometheus.py turns it into text. A metric whose source has said nothing
yet is left out altogether, because a zero would be a statement. Per series, counters by reason or kind start with zeros, so
that the first failure is an increase that rate() sees; a histogram appears with its first observation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tracer import __version__
from tracer.ingest.snapshot import Snapshot
from tracer.ingest.source import Program
from tracer.model.audit import AuditLine
from tracer.model.histogram import Histogram
from tracer.model.labels import OTHER
from tracer.model.report import Counts, Report, Series
from tracer.model.tcp import CLOSE_REASONS, FAILURE_REASONS, KINDS, RETRANSMIT_KINDS, STATES

ENDED = ", of connections that ended."
STATS = " (0 unless the sysctl kernel.bpf_stats_enabled is set)."
NO_RECORD = "; what they were is counted under the port other."
OVERFLOW = ", because there were too many label sets."

Labels = tuple[str, ...]
Values = Iterable[tuple[Labels, float]]
Rows = tuple[Histogram, list[tuple[int, Labels]]]
"""Histograms side by side, and the rows of them that have observations, with label values."""

PREFIX = "tcptrace_"

L = "L"
"""In a metric's labels: those of its series, role and port and what --label adds."""


@dataclass(frozen=True)
class Metric:
    """A counter, a gauge or an info, without the prefix tcptrace_.

    labels: names, L for those of the series. take: label values (of all those names) and the number.
    """

    name: str
    type: Literal["counter", "gauge", "info"]
    help: str
    labels: Labels
    take: Callable[[Report], Values]


@dataclass(frozen=True)
class HistogramMetric:
    """A histogram in seconds, without the prefix tcptrace_; the fields are those of Metric."""

    name: str
    help: str
    labels: Labels
    take: Callable[[Report], Rows]


def label_names(metric: Metric | HistogramMetric, report: Report) -> Labels:
    """Return the names of a metric's labels in this report."""
    return tuple(name for label in metric.labels for name in (report.series.names if label == L else (label,)))


def _rows(report: Report) -> Iterator[tuple[int, Labels]]:
    """Yield the number and labels of every series; `other` only when something was counted there."""
    first = 0 if report.label_overflow else 1
    yield from enumerate(report.series.labels[first:], first)


def _by_series(column: Callable[[Series], Counts]) -> Callable[[Report], Values]:
    def take(report: Report) -> Values:
        values = column(report.series)
        return [(labels, float(values[row])) for row, labels in _rows(report)]

    return take


def _by_series_and(names: tuple[str, ...], column: Callable[[Series], Counts]) -> Callable[[Report], Values]:
    def take(report: Report) -> Values:
        values = column(report.series)
        wanted = [(i, name) for i, name in enumerate(names) if name != "unknown"]
        return [((*labels, name), float(values[row, i])) for row, labels in _rows(report) for i, name in wanted]

    return take


def _histogram_by_series(column: Callable[[Series], Histogram]) -> Callable[[Report], Rows]:
    def take(report: Report) -> Rows:
        return _used(column(report.series), _rows(report))

    return take


def _used(histogram: Histogram, rows: Iterable[tuple[int, Labels]]) -> Rows:
    totals = histogram.totals
    return histogram, [(row, labels) for row, labels in rows if totals[row]]


def _state_times(report: Report) -> Rows:
    return _used(report.state_times, [(number, (state,)) for number, state in enumerate(STATES)])


def _resets_sent(report: Report) -> Values:
    counts: dict[Labels, float] = {}
    for row, number in np.argwhere(report.series.resets_sent):
        labels = (*report.series.labels[row][:2], reset_reason(report, int(number)))
        counts[labels] = counts.get(labels, 0) + float(report.series.resets_sent[row, number])
    return counts.items()


def reset_reason(report: Report, number: int) -> str:
    """Return the kernel's name of a reset reason; `unspecified` where the kernel gives none."""
    return report.context.reset_reasons.get(number, f"reason_{number}" if number else "unspecified")


def _resets_received(report: Report) -> Values:
    counts: dict[Labels, float] = {}
    for row in np.flatnonzero(report.series.resets_received):
        labels = report.series.labels[row][:2]
        counts[labels] = counts.get(labels, 0) + float(report.series.resets_received[row])
    return counts.items()


def _transitions(report: Report) -> Values:
    if report.transitions is None:
        return []
    return [((STATES[a], STATES[b]), float(report.transitions[a, b])) for a, b in np.argwhere(report.transitions)]


def _sockets(report: Report) -> Values:
    return [((state,), float(count)) for state, count in (report.sockets or {}).items()]


def _time_wait(report: Report) -> Values:
    return [((name,), float(count)) for name, count in report.snapshot.time_wait] if report.snapshot else []


def _ports_used(report: Report) -> Values:
    if report.snapshot is None:
        return []
    used: dict[Labels, float] = {}
    for use in report.snapshot.ports:  # a destination can occur once in each namespace
        used[use.destination,] = max(used.get((use.destination,), 0), float(use.used))
    return [*used.items(), *([] if report.snapshot.ports_other is None else [((OTHER,), float(report.snapshot.ports_other))])]


def _events(report: Report) -> Values:
    return [((kind,), float(report.events[number])) for number, kind in enumerate(KINDS) if kind != "unknown"]


def _known(number: Callable[[Report], float | None]) -> Callable[[Report], Values]:
    def take(report: Report) -> Values:
        value = number(report)
        return [] if value is None else [((), float(value))]

    return take


def _of_snapshot(number: Callable[[Snapshot], float | None]) -> Callable[[Report], Values]:
    return _known(lambda report: number(report.snapshot) if report.snapshot else None)


def _build(report: Report) -> Values:
    return [((__version__, report.context.kernel, report.context.bcc), 1.0)]


def _audit(number: Callable[[AuditLine], int]) -> Callable[[Report], Values]:
    return lambda report: [((line.counter,), float(number(line))) for line in report.audit]


def _by_program(number: Callable[[Program], float]) -> Callable[[Report], Values]:
    return lambda report: [((program.name,), float(number(program))) for program in report.programs]


METRICS: tuple[Metric | HistogramMetric, ...] = (
    Metric("handshakes_total", "counter", "Handshakes that were completed.", (L,), _by_series(lambda s: s.handshakes)),
    HistogramMetric(
        "handshake_duration_seconds",
        "Time from SYN to SYN-ACK (client) or from SYN-ACK to ACK (server), retransmissions included.",
        (L,),
        _histogram_by_series(lambda s: s.handshake_times),
    ),
    Metric(
        "handshake_failures_total",
        "counter",
        "Connection attempts that never became established.",
        (L, "reason"),
        _by_series_and(FAILURE_REASONS, lambda s: s.failures),
    ),
    Metric("connections", "gauge", "Open connections, older ones included.", (L,), _by_series(lambda s: s.connections)),
    Metric(
        "time_wait_entries_total",
        "counter",
        "Closes that left a timewait object, on the side that closed first.",
        (L,),
        _by_series(lambda s: s.time_waits),
    ),
    Metric(
        "connections_closed_total",
        "counter",
        "Connections that ended.",
        (L, "reason"),
        _by_series_and(CLOSE_REASONS, lambda s: s.closes),
    ),
    HistogramMetric(
        "connection_duration_seconds",
        "Time from a connection's first state to its end.",
        (L,),
        _histogram_by_series(lambda s: s.connection_times),
    ),
    HistogramMetric(
        "srtt_seconds", "Smoothed round-trip time when a connection ended.", (L,), _histogram_by_series(lambda s: s.srtt)
    ),
    Metric("sent_bytes_total", "counter", "Payload sent and acknowledged" + ENDED, (L,), _by_series(lambda s: s.sent_bytes)),
    Metric("received_bytes_total", "counter", "Payload received" + ENDED, (L,), _by_series(lambda s: s.received_bytes)),
    Metric(
        "retransmitted_segments_total",
        "counter",
        "Segments sent again.",
        (L, "kind"),
        _by_series_and(RETRANSMIT_KINDS, lambda s: s.retransmitted),
    ),
    Metric("resets_sent_total", "counter", "Resets sent, by the kernel's reason.", ("role", "port", "reason"), _resets_sent),
    Metric("resets_received_total", "counter", "Resets received for a connection.", ("role", "port"), _resets_received),
    HistogramMetric("state_duration_seconds", "Time in a state" + ENDED, ("state",), _state_times),
    Metric("state_transitions_total", "counter", "Changes of state, counted in the kernel.", ("from", "to"), _transitions),
    Metric("sockets", "gauge", "Sockets by state.", ("state",), _sockets),
    Metric(
        "time_wait_sockets",
        "gauge",
        "Sockets in TIME_WAIT, of both sides, by the service's address and port.",
        ("destination",),
        _time_wait,
    ),
    Metric(
        "ephemeral_ports_used",
        "gauge",
        "Local ports in use towards a destination, TIME_WAIT included, from the address with most; for other: the most.",
        ("destination",),
        _ports_used,
    ),
    Metric(
        "ephemeral_ports_limit",
        "gauge",
        "Local ports that there are for each destination, in tcptrace's own network namespace.",
        (),
        _of_snapshot(lambda s: s.ports_limit),
    ),
    Metric(
        "snapshot_duration_seconds",
        "gauge",
        "Time that it took to count the sockets.",
        (),
        _of_snapshot(lambda s: s.duration_seconds),
    ),
    Metric(
        "snapshot_age_seconds", "gauge", "Time since the sockets were counted.", (), _known(lambda r: r.snapshot_age_seconds)
    ),
    Metric("build_info", "info", "What is running: tcptrace, the kernel and bcc.", ("version", "kernel", "bcc"), _build),
    Metric("program_attached", "gauge", "Whether a BPF program is attached.", ("program",), _by_program(lambda p: p.attached)),
    Metric("program_runs_total", "counter", "Runs of a BPF program" + STATS, ("program",), _by_program(lambda p: p.runs)),
    Metric(
        "program_run_seconds_total", "counter", "Time in a program" + STATS, ("program",), _by_program(lambda p: p.run_seconds)
    ),
    Metric("program_misses_total", "counter", "Runs that the kernel skipped.", ("program",), _by_program(lambda p: p.misses)),
    Metric("events_total", "counter", "Records read from the kernel.", ("kind",), _events),
    Metric("events_lost_total", "counter", "Records lost, the ring was full" + NO_RECORD, (), _known(lambda r: r.events_lost)),
    Metric(
        "connections_untracked_total",
        "counter",
        "Connections that found the table full, each once" + NO_RECORD,
        (),
        _known(lambda r: r.untracked),
    ),
    Metric(
        "connections_partial_total",
        "counter",
        "Connections older than the tracing, each once.",
        (),
        _known(lambda r: r.partial),
    ),
    Metric(
        "audit_kernel_total",
        "counter",
        "The kernel's own counters (/proc/net/snmp) since the start, of tcptrace's network namespace.",
        ("counter",),
        _audit(lambda line: line.kernel),
    ),
    Metric(
        "audit_traced_total",
        "counter",
        "The same, as tcptrace counted it; where the two differ for long, events were missed.",
        ("counter",),
        _audit(lambda line: line.traced),
    ),
    Metric("label_overflow_total", "counter", "Records counted as `other`" + OVERFLOW, (), _known(lambda r: r.label_overflow)),
)
