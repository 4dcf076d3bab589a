"""The rows about tcptrace itself, at the end of the Overview: what it missed, whether the kernel counts the same, its cost."""

from __future__ import annotations

from dashboards.panels import Column, Panel, Query, a_second, lines, rows
from dashboards.queries import largest, of_tcptrace, rate, ratio, series, total

# What makes the counts of the present run too low.
LOSSES_OF_RUN = ("events_lost_total", "connections_untracked_total", "program_misses_total")

DRIFT = f"abs({series('audit_kernel_total')} - {series('audit_traced_total')})"
UNTRACED = 'counter!~"ActiveOpens|PassiveOpens|EstabResets|RetransSegs"'


def trust() -> list[Panel]:
    """Return the panels that tell whether the others can be believed."""
    return [
        lines(
            "Drift from the kernel counters",
            "Does the kernel count the same? How far tcptrace's counts are from the kernel's own (/proc/net/snmp) since it "
            "started, by counter. A few for a moment are connections in between. What stays was missed; a host where tcptrace "
            "only traces some ports drifts by design.",
            Query(total(DRIFT, "counter"), "{{counter}}"),
            unit="short",
            width=6,
        ),
        lines(
            "Kernel counters without a tracepoint",
            "What does only the kernel count? A second, by counter, of what no tracepoint shows: half-open probes "
            "(AttemptFails, EmbryonicRsts), full queues of listeners (ListenOverflows, ListenDrops, TCPReqQFullDrop) and "
            "TIME_WAIT entries that found no room. For a service that drops, raise its backlog and net.core.somaxconn, or "
            "look for a SYN flood.",
            Query(total(rate("audit_kernel_total", UNTRACED), "counter"), "{{counter}}"),
            unit=a_second("counts"),
            width=6,
        ),
        lines(
            "Losses by cause",
            "What was missed? Losses a second: records that found the ring full, connections that found the table full, runs "
            "of a program that the kernel skipped for good. And records counted as 'other', where there are too many labels: "
            "raise --max-series.",
            Query(total(rate("events_lost_total")), "records lost: ring full"),
            Query(total(rate("events_refused_total")), "of these: refused by a ring with room"),
            Query(total(rate("events_unreached_total")), "state changes that reached no program"),
            Query(total(rate("connections_untracked_total")), "connections untracked: table full"),
            Query(total(rate("program_misses_total"), "program"), "runs skipped: {{program}}"),
            Query(total(rate("label_overflow_total")), "records counted as other: too many labels"),
            unit=a_second("losses"),
            width=6,
        ),
        lines(
            "Existing connections at the start",
            "How many connections existed before tracing started? Connections that were open before tcptrace started and were "
            "seen since: counted, but in no duration. The count rises after a start and then stays; a rise much later would "
            "be connections whose beginning was missed.",
            Query(total(series("connections_partial_total"), "instance"), "{{instance}}"),
            unit="short",
            width=6,
        ),
        lines(
            "Network namespaces by source",
            "How many network namespaces are seen? By what tells of their sockets. Where only events do, existing connections "
            "are not counted, TIME_WAIT and ports in use are those of the last minute's events, and sockets by state are "
            "missing.",
            Query(total(series("namespaces"), "instance", "seen"), "{{instance}} by {{seen}}"),
            unit="short",
        ),
    ]


def tracer() -> list[Panel]:
    """Return the panels of tcptrace's own health and cost."""
    return [*_cost(), *_programs(), *_processes()]


def _cost() -> list[Panel]:
    resident, virtual = (of_tcptrace(series(f"process_{kind}_memory_bytes")) for kind in ("resident", "virtual"))
    return [
        lines(
            "CPU use of tcptrace",
            "How much CPU does tcptrace use? Of one core, for each host: the process, and the programs in the kernel where "
            "the sysctl kernel.bpf_stats_enabled is set. It follows the number of connections; filters (--port, --address) "
            "are applied in the kernel and lower it.",
            Query(of_tcptrace(rate("process_cpu_seconds_total")), "{{instance}} process"),
            Query(total(rate("program_run_seconds_total"), "instance"), "{{instance}} programs in the kernel"),
            unit="percentunit",
            width=8,
        ),
        lines(
            "Memory use of tcptrace",
            "How much memory does tcptrace use? Resident memory of the process, about 55 MB and steady; virtual memory is "
            "larger and costs nothing. A steady rise is a defect worth a report.",
            Query(resident, "{{instance}} resident"),
            Query(virtual, "{{instance}} virtual"),
            unit="bytes",
            width=8,
        ),
        lines(
            "Events by kind",
            "Which events arrive? What was seen a second by kind, with a record or counted in the kernel. When records are "
            "lost, a filter (--port, --address) makes them fewer; the kind that dominates tells of what there are many.",
            Query(total(rate("events_total"), "kind"), "{{kind}}"),
            unit=a_second("events"),
            width=8,
            stacked=True,
        ),
    ]


def _programs() -> list[Panel]:
    return [
        rows(
            "Attached programs",
            "Are all programs attached? Each BPF program and on how many of the hosts it is attached. One that is missing "
            "leaves its counts empty: 'tcptrace doctor' on that host says why.",
            Column("Attached on", total(series("program_attached"), "program")),
            Column("Hosts", f"count by (program) ({series('program_attached')})"),
            labels={"program": "Program"},
            width=8,
            height=8,
        ),
        lines(
            "Program runs",
            "How often do the programs run? Runs a second of each BPF program; zero unless the sysctl "
            "kernel.bpf_stats_enabled is set. They run at every change of state, retransmission and reset of the whole host, "
            "before filters.",
            Query(total(rate("program_runs_total"), "program"), "{{program}}"),
            unit=a_second("runs"),
            width=8,
        ),
        lines(
            "Time of a program run",
            "How long does a program take? Mean time of one run, which delays the kernel by that much. Below a microsecond is "
            "usual; nothing unless the sysctl kernel.bpf_stats_enabled is set.",
            Query(
                ratio(total(rate("program_run_seconds_total"), "program"), total(rate("program_runs_total"), "program")),
                "{{program}}",
            ),
            unit="s",
            width=8,
            nothing="kernel.bpf_stats_enabled is off",
        ),
    ]


def _processes() -> list[Panel]:
    versions = ("job", "instance", "version", "kernel", "bcc")
    age = f"(time() - {series('process_start_time_seconds')}) * on (job, instance) group_right () {series('build_info')}"
    descriptors = of_tcptrace(f"{series('process_open_fds')} / {series('process_max_fds')}")
    return [
        rows(
            "Versions and running time",
            "What is running, and since when? Version of tcptrace, the kernel and bcc on each host, and for how long the "
            "process has been running. Counters start anew with the process; many short runs mean that something ends it: see "
            "its log.",
            Column("Running for", largest(age, *versions), "dtdurations"),
            Column("File descriptors in use", largest(descriptors, "job", "instance"), "percentunit"),
            labels=dict(zip(versions, ("Job", "Host", "tcptrace", "Kernel", "bcc"), strict=True)),
            height=7,
        )
    ]
