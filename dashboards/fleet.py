"""The dashboard of many hosts: which are there, which stand out, and whether each one's numbers can be believed.

Percentiles of the fleet come from summed buckets: the mean or the maximum of hosts' percentiles is no percentile of anything.
"""

from __future__ import annotations

from dashboards.overview import RATIO_STEPS, SLOW_STEPS, TIMES
from dashboards.panels import LOSSES, Column, Dashboard, Panel, Query, a_second, lines, number, rows as table
from dashboards.port_rows import PORT_STEPS
from dashboards.queries import HOST, failure_ratio, growth, largest, of_tcptrace, port_use, quantile, rate, series, top, total
from dashboards.tracer_rows import DRIFT, LOSSES_OF_RUN

# A host that is down now exports no build_info, but was there, or its job was, in the time shown.
UP = f"{series('up')} and on (job) last_over_time({series('build_info')}[$__range])"
CLIENT = 'role="client"'
LEGEND = "{{instance}}"


def dashboard() -> Dashboard:
    """Return the dashboard."""
    return Dashboard(
        "fleet",
        "Fleet",
        "Which hosts are watched, which of them stand out, and whether their numbers can be trusted.",
        rows=[
            ("At a glance", [*_size(), *_quality()]),
            ("Hosts", _hosts()),
            ("Who stands out", [*_failing(), *_retransmitting(), *_running_out()]),
            ("Trust and cost", _trust()),
        ],
    )


def _size() -> list[Panel]:
    return [
        number(
            "Reachable hosts",
            "How many hosts? Hosts whose tcptrace Prometheus reaches now, of the chosen jobs.",
            Query(f"count(({UP}) == 1)", now=True),
            unit="short",
        ),
        number(
            "Silent hosts",
            "How many are silent? Targets of these jobs that Prometheus cannot reach. Either the host is down or tcptrace is: "
            "'tcptrace doctor' there.",
            Query(f"count(({UP}) == 0)", now=True),
            unit="short",
            steps=LOSSES,
        ),
        number(
            "Open connections",
            "How many connections? Open connections of all hosts. One between two watched hosts counts at both.",
            Query(total(series("connections"))),
            unit="short",
        ),
        number(
            "Completed handshakes",
            "How many handshakes? Completed handshakes of all hosts. One between two watched hosts counts at both.",
            Query(total(rate("handshakes_total"))),
            unit=a_second("handshakes"),
        ),
    ]


def _quality() -> list[Panel]:
    return [
        number(
            "Failed attempts",
            "How many attempts fail? Failed attempts of all attempts in the fleet. Below shows on which hosts; a host's name "
            "leads to its reasons.",
            Query(failure_ratio()),
            unit="percentunit",
            steps=RATIO_STEPS,
            nothing="no attempt",
        ),
        number(
            "Handshake time, p99",
            "How slow is the p99? 99th percentile of all clients' handshakes in the fleet, from their summed buckets.",
            Query(quantile(0.99, TIMES, matchers=(CLIENT,))),
            unit="s",
            steps=SLOW_STEPS,
            nothing="no handshake",
        ),
    ]


def _hosts() -> list[Panel]:
    losses = " + ".join(total(growth(name), *HOST) for name in LOSSES_OF_RUN)
    return [
        table(
            "Figures by host",
            "How is each host doing? One line a host; rates, ratios and percentiles are those of the last minutes, losses "
            "those of the time shown. Sort by a column to find who stands out. The name of a host leads to its Overview.",
            Column("Up", largest(UP, *HOST), "bool_yes_no", ((None, "red"), (1, "green"))),
            Column("Connections", total(series("connections"), *HOST)),
            Column("Handshakes/s", total(rate("handshakes_total"), *HOST), a_second("")),
            Column("Failing", failure_ratio(*HOST), "percentunit", RATIO_STEPS),
            Column("p99 handshake", quantile(0.99, TIMES, *HOST, matchers=(CLIENT,)), "s", SLOW_STEPS),
            Column("Retransmitted/s", total(rate("retransmitted_segments_total"), *HOST), a_second("")),
            Column("Ports in use", largest(port_use(), *HOST), "percentunit", PORT_STEPS),
            Column("Missed", losses, "short", LOSSES),
            Column("Drift", total(DRIFT, *HOST)),
            labels={"instance": "Host", "job": "Job"},
            height=11,
        ),
        table(
            "Hosts by version",
            "Which versions run, and on how many hosts? tcptrace, kernel and bcc. Where one host differs in its numbers, see "
            "whether it differs here too: older kernels give no reason for a reset.",
            Column("Hosts", f"count by (version, kernel, bcc) ({series('build_info')})"),
            labels={"version": "tcptrace", "kernel": "Kernel", "bcc": "bcc"},
            height=6,
        ),
    ]


def _failing() -> list[Panel]:
    return [
        lines(
            "Failed share of attempts: top hosts",
            "Which hosts fail most often? Share of failed attempts, the ten hosts with most at each moment. The dashed lines "
            "are 1 % and 5 %. One host alone has a local cause; all of them have a common destination.",
            Query(top(failure_ratio(*HOST)), LEGEND),
            unit="percentunit",
            steps=RATIO_STEPS,
            nothing="no attempt",
            links_to_host=True,
        ),
        lines(
            "Handshake time, p99: slowest hosts",
            "Which hosts open connections slowly? 99th percentile of clients' handshakes, the ten slowest hosts at each "
            "moment, and the whole fleet's, from summed buckets. Hosts far above the fleet have a lossy or long way.",
            Query(top(quantile(0.99, TIMES, *HOST, matchers=(CLIENT,))), LEGEND),
            Query(quantile(0.99, TIMES, matchers=(CLIENT,)), "all of the fleet"),
            unit="s",
            logarithmic=True,
            nothing="no handshake",
            links_to_host=True,
        ),
    ]


def _retransmitting() -> list[Panel]:
    return [
        lines(
            "Retransmissions: top hosts",
            "Which hosts retransmit most? Segments retransmitted a second, the ten hosts with most. Hosts of one rack or "
            "switch together point at it.",
            Query(top(total(rate("retransmitted_segments_total"), *HOST)), LEGEND),
            unit=a_second("segments"),
            links_to_host=True,
        ),
        lines(
            "Resets sent: top hosts",
            "Which hosts cut connections off? Resets sent a second, the ten hosts with most. Its Overview has the kernel's "
            "reasons.",
            Query(top(total(rate("resets_sent_total"), *HOST)), LEGEND),
            unit=a_second("resets"),
            nothing="no reset sent",
            links_to_host=True,
        ),
    ]


def _running_out() -> list[Panel]:
    return [
        lines(
            "Ephemeral ports in use: top hosts",
            "Which hosts come near the end of their ports? Ephemeral ports in use towards the fullest destination, the ten "
            "hosts with most. The dashed lines are 70 % and 90 %; 'Connections and ports' has the destination and a forecast.",
            Query(top(largest(port_use(), *HOST)), LEGEND),
            unit="percentunit",
            steps=PORT_STEPS,
            nothing="no client",
            links_to_host=True,
        ),
        lines(
            "CLOSE_WAIT: top hosts",
            "Which hosts have applications that forget to close? Sockets in CLOSE_WAIT, the ten hosts with most. Growth "
            "without end is a leak.",
            Query(top(total(series("sockets", 'state="close_wait"'), *HOST)), LEGEND),
            unit="short",
            links_to_host=True,
        ),
    ]


def _trust() -> list[Panel]:
    losses = " + ".join(total(rate(name), *HOST) for name in LOSSES_OF_RUN)
    return [
        lines(
            "Losses by host",
            "Which hosts miss something? Records lost, connections untracked and runs skipped a second; only hosts with any. "
            "Give tcptrace a filter there, or more CPU.",
            Query(f"{losses} > 0", LEGEND),
            unit=a_second("losses"),
            width=8,
            nothing="no host misses anything",
            links_to_host=True,
        ),
        lines(
            "Drift from the kernel counters by host",
            "Which hosts count otherwise than their kernel? Difference between tcptrace's counts and the kernel's, all "
            "counters together; only hosts with any. For a moment it is connections in between; 'tcptrace audit' there tells "
            "more.",
            Query(f"{total(DRIFT, *HOST)} > 0", LEGEND),
            unit="short",
            width=8,
            nothing="no host drifts",
            links_to_host=True,
        ),
        lines(
            "CPU use of tcptrace: top hosts",
            "What does tcptrace cost each host? CPU of tcptrace's process, of one core, the ten hosts with most. It follows "
            "their number of connections.",
            Query(top(of_tcptrace(rate("process_cpu_seconds_total"))), LEGEND),
            unit="percentunit",
            width=8,
            links_to_host=True,
        ),
    ]
