"""The table of metrics: one row each, from its name to how it is taken out of a Report.

Whoever wants to know what is exported reads METRICS; prometheus.py turns it into text. A metric whose source has said nothing
yet is left out altogether, because a zero would be a statement. Per series, counters by reason or kind start with zeros, so
that the first failure is an increase that rate() sees; a histogram appears with its first observation.
"""

from __future__ import annotations

from tracer.model.tcp import CLOSE_REASONS, FAILURE_REASONS, RETRANSMIT_KINDS
from tracer.outputs.carried import CARRIED
from tracer.outputs.metric import PREFIX, HistogramMetric, L, Metric, label_names, present
from tracer.outputs.samples import (
    audited,
    build,
    by_program,
    by_series,
    by_series_and,
    containers,
    histogram_by_series,
    known,
    namespaces,
    of_snapshot,
    ports_limit,
    ports_used,
    records_by_kind,
    resets_received,
    resets_sent,
    sockets,
    state_changes,
    state_times,
    waiting_sockets,
)

ENDED = ", of connections that ended."
STATS = " (0 unless the sysctl kernel.bpf_stats_enabled is set)."
NO_RECORD = "; what they were is counted under the port other."
OPEN = "Open connections, older ones included, as of the last dump and what was seen since."
ATTACHED = "Whether a BPF program is attached; 0 if this kernel lacks its tracepoint, too."
OVERFLOW = "Events of label sets that have no series of their own, because there were too many."

__all__ = ["METRICS", "PREFIX", "HistogramMetric", "L", "Metric", "label_names", "present"]

METRICS: tuple[Metric | HistogramMetric, ...] = (
    Metric("handshakes_total", "counter", "Handshakes that were completed.", (L,), by_series(lambda s: s.handshakes)),
    HistogramMetric(
        "handshake_duration_seconds",
        "Time from SYN to SYN-ACK (client) or from SYN-ACK to ACK (server), retransmissions included.",
        (L,),
        histogram_by_series(lambda s: s.handshake_times),
    ),
    Metric(
        "handshake_failures_total",
        "counter",
        "Connection attempts that never became established.",
        (L, "reason"),
        by_series_and(FAILURE_REASONS, lambda s: s.failures),
    ),
    Metric("connections", "gauge", OPEN, (L,), by_series(lambda s: s.connections)),
    Metric(
        "time_wait_entries_total",
        "counter",
        "Closes that left a timewait object, on the side that closed first.",
        (L,),
        by_series(lambda s: s.time_waits),
    ),
    Metric(
        "connections_closed_total",
        "counter",
        "Connections that ended.",
        (L, "reason"),
        by_series_and(CLOSE_REASONS, lambda s: s.closes),
    ),
    HistogramMetric(
        "connection_duration_seconds",
        "Time from a connection's first state to its end.",
        (L,),
        histogram_by_series(lambda s: s.connection_times),
    ),
    HistogramMetric(
        "srtt_seconds", "Smoothed round-trip time when a connection ended.", (L,), histogram_by_series(lambda s: s.srtt)
    ),
    *CARRIED,
    Metric(
        "retransmitted_segments_total",
        "counter",
        "Segments that were retransmitted.",
        (L, "kind"),
        by_series_and(RETRANSMIT_KINDS, lambda s: s.retransmitted),
    ),
    Metric("resets_sent_total", "counter", "Resets sent, by the kernel's reason.", ("role", "port", "reason"), resets_sent),
    Metric("resets_received_total", "counter", "Resets received for a connection.", ("role", "port"), resets_received),
    HistogramMetric("state_duration_seconds", "Time in a state" + ENDED, ("state",), state_times),
    Metric("state_transitions_total", "counter", "Changes of state, counted in the kernel.", ("from", "to"), state_changes),
    Metric("sockets", "gauge", "Sockets by state.", ("state",), sockets),
    Metric(
        "time_wait_sockets",
        "gauge",
        "Sockets in TIME_WAIT, of both sides, by the service's address and port.",
        ("destination", "seen"),
        waiting_sockets,
        ("seen",),
    ),
    Metric(
        "ephemeral_ports_used",
        "gauge",
        "Local ports in use towards a destination, TIME_WAIT included, from the address with most; for other: the most.",
        ("destination", "netns", "seen"),
        ports_used,
        ("netns", "seen"),
    ),
    Metric(
        "ephemeral_ports_limit",
        "gauge",
        "Local ports that there are for each destination, in tcptrace's own network namespace, and in those where it differs.",
        ("netns",),
        ports_limit,
        ("netns",),
    ),
    Metric("namespaces", "gauge", "Network namespaces, by what tells of their sockets.", ("seen",), namespaces),
    Metric(
        "snapshot_duration_seconds",
        "gauge",
        "Time that it took to count the sockets.",
        (),
        of_snapshot(lambda s: s.duration_seconds),
    ),
    Metric(
        "snapshot_age_seconds", "gauge", "Time since the sockets were counted.", (), known(lambda r: r.snapshot_age_seconds)
    ),
    Metric(
        "open_figures_age_seconds",
        "gauge",
        "Time since the figures of open connections were read, which takes longer than to count them.",
        (),
        known(lambda r: r.figures_age_seconds),
    ),
    Metric(
        "snapshot_errors_total",
        "counter",
        "Counts of the sockets that failed; each is tried again.",
        (),
        of_snapshot(lambda s: s.errors),
    ),
    Metric(
        "build_info",
        "info",
        "What is running: tcptrace, the kernel and bcc; reads: how sockets are read, by direct loads or by helper calls.",
        ("version", "kernel", "bcc", "reads"),
        build,
    ),
    Metric(
        "container_info",
        "info",
        "What a value of the label container stands for (with --label container).",
        ("container", "container_id", "pod_uid", "unit"),
        containers,
    ),
    Metric("program_attached", "gauge", ATTACHED, ("program",), by_program(lambda p: p.attached)),
    Metric("program_runs_total", "counter", "Runs of a BPF program" + STATS, ("program",), by_program(lambda p: p.runs)),
    Metric(
        "program_run_seconds_total", "counter", "Time in a program" + STATS, ("program",), by_program(lambda p: p.run_seconds)
    ),
    Metric("program_misses_total", "counter", "Runs that the kernel skipped.", ("program",), by_program(lambda p: p.misses)),
    Metric("events_total", "counter", "What was seen, with a record or counted in the kernel.", ("kind",), records_by_kind),
    Metric("events_lost_total", "counter", "Records lost, the ring was full" + NO_RECORD, (), known(lambda r: r.events_lost)),
    Metric(
        "events_refused_total",
        "counter",
        "Of the records lost, those that a ring with room refused.",
        (),
        known(lambda r: r.refused),
    ),
    Metric(
        "events_unreached_total",
        "counter",
        "State changes that reached no program, found out later.",
        (),
        known(lambda r: r.unreached),
    ),
    Metric(
        "connections_untracked_total",
        "counter",
        "Connections that found the table full, each once" + NO_RECORD,
        (),
        known(lambda r: r.untracked),
    ),
    Metric(
        "connections_partial_total",
        "counter",
        "Existing connections of which something was seen, each once.",
        (),
        known(lambda r: r.partial),
    ),
    Metric(
        "audit_kernel_total",
        "counter",
        "The kernel's counters (/proc/net/snmp, netstat) since the start, of tcptrace's network namespace; some of what no "
        "tracepoint shows.",
        ("counter",),
        audited(lambda line: line.kernel),
    ),
    Metric(
        "audit_traced_total",
        "counter",
        "The same, as tcptrace counted it, where it can; where the two differ for long, events were missed.",
        ("counter",),
        audited(lambda line: line.traced),
    ),
    Metric("label_overflow_total", "counter", OVERFLOW, (), known(lambda r: r.label_overflow)),
)
