"""The dashboard that answers "is TCP well?": handshakes, failures, what is retransmitted, how connections end, whom to believe.

Everything is by service, a role and a port; which hosts are behind it is the Fleet dashboard's matter.
"""

from __future__ import annotations

from dashboards import tracer_rows
from dashboards.panels import LOSSES, Dashboard, Panel, Query, a_second, heat, lines, number
from dashboards.queries import attempts, failure_ratio, growth, happening, quantile, rate, ratio, series, spread, total

SERVICE = ("role", "port")
SERVICE_LEGEND = "{{role}} {{port}}"
RATIO_STEPS = ((None, "green"), (0.01, "orange"), (0.05, "red"))
SLOW_STEPS = ((None, "green"), (0.5, "orange"), (1, "red"))
TIMES = "handshake_duration_seconds"
SYN = 'kind="syn"'
SYN_ACK = 'kind="syn_ack"'
DATA = 'kind=~"fast|timeout|tail_loss_probe|mtu"'


def dashboard() -> Dashboard:
    """Return the dashboard."""
    return Dashboard(
        "overview",
        "Overview",
        "Handshakes, failures, retransmissions, closes and resets by service, and whether the numbers can be trusted.",
        rows=[
            ("At a glance", [*_demand(), *_quality()]),
            ("Handshakes", [*_heat_maps(), *_handshakes()]),
            ("Failures", _failures()),
            ("Retransmissions", _retransmissions()),
            ("Closes and resets", _closes()),
            ("Trust", tracer_rows.trust()),
            ("The tracer itself", tracer_rows.tracer()),
        ],
    )


def _demand() -> list[Panel]:
    return [
        number(
            "Open connections",
            "How many connections? Open connections of all services, those that were open before tcptrace started included. A "
            "steady climb without more handshakes means that somebody forgets to close: see CLOSE_WAIT in 'Connections and "
            "ports'.",
            Query(total(series("connections"))),
            unit="short",
        ),
        number(
            "Completed handshakes",
            "How many handshakes? Completed handshakes. A connection between two processes of the same host counts twice: "
            "once as a client's, once as a server's. A sudden drop with more failures is an outage, without them it is less "
            "demand.",
            Query(total(rate("handshakes_total"))),
            unit=a_second("handshakes"),
        ),
    ]


def _quality() -> list[Panel]:
    lost = " + ".join(total(growth(name)) for name in tracer_rows.LOSSES_OF_RUN)
    return [
        number(
            "Handshake time, p99",
            "How slow is the p99? The 99th percentile of clients' handshake time, retransmitted SYNs included. Values near 1, "
            "3 or 7 seconds are SYNs that were lost and retransmitted; look at 'Retransmitted SYNs and SYN-ACKs per "
            "attempt'.",
            Query(quantile(0.99, TIMES, matchers=('role="client"',))),
            unit="s",
            steps=SLOW_STEPS,
            nothing="no handshake",
        ),
        number(
            "Failed attempts",
            "How many attempts fail? Attempts that never became a connection, of all attempts. More than a hundredth deserves "
            "a look at the reasons below; 'tcptrace events --kind failure' names the processes and addresses.",
            Query(failure_ratio()),
            unit="percentunit",
            steps=RATIO_STEPS,
            nothing="no attempt",
        ),
        number(
            "Retransmitted segments",
            "How much is retransmitted? Retransmitted segments of every kind, those that really left the host. There is no "
            "count of all segments sent to compare it with; the ratios below use handshakes and payload instead.",
            Query(total(rate("retransmitted_segments_total"))),
            unit=a_second("segments"),
        ),
        number(
            "Missed",
            "Was anything missed? Records lost, connections that found the table full and runs that the kernel skipped, in "
            "the time shown. Anything but zero means that counts by service are a little too low; see 'Losses by cause' in the "
            "row Trust.",
            Query(lost, now=True),
            unit="short",
            steps=LOSSES,
            nothing="not known",
        ),
    ]


def _heat_maps() -> list[Panel]:
    return [
        heat(
            "Handshake time of clients",
            "Are handshakes slow, as clients see them? Every handshake that was opened from here, by how long it took from "
            "SYN to SYN-ACK. A band is one kind of peer: its height is the network's round trip. A second band at 1 s and "
            "above is lost SYNs.",
            Query(spread(TIMES, 'role="client"'), "{{le}}"),
            nothing="no client's handshake",
        ),
        heat(
            "Handshake time of servers",
            "Are handshakes slow, as servers see them? Every handshake that was accepted here, by the time from SYN-ACK to "
            "ACK: the round trip to the client, without what the server does. Far clients are high; a rise of the whole band "
            "is the network.",
            Query(spread(TIMES, 'role="server"'), "{{le}}"),
            nothing="no server's handshake",
        ),
    ]


def _handshakes() -> list[Panel]:
    return [
        lines(
            "Handshake time by role: p50, p90, p99",
            "How long do handshakes take? Median, 90th and 99th percentile for each role. The median is the network; the 99th "
            "is its losses. The buckets double, so read a value as 'up to a factor of two'.",
            *(Query(quantile(q, TIMES, "role"), f"{{{{role}}}} p{q * 100:g}") for q in (0.5, 0.9, 0.99)),
            unit="s",
            logarithmic=True,
        ),
        lines(
            "Handshake time by service: p99",
            "Which service's handshakes are slow? The 99th percentile of each service. When one service stands out, its peers "
            "or their network are slow; when all rise together, it is this host or its uplink.",
            Query(quantile(0.99, TIMES, *SERVICE), SERVICE_LEGEND),
            unit="s",
            logarithmic=True,
        ),
        lines(
            "Handshakes by service",
            "How many handshakes does each service make? Completed handshakes a second. Many from one client to one service "
            "call for keep-alive or a connection pool, which also saves ephemeral ports.",
            Query(total(rate("handshakes_total"), *SERVICE), SERVICE_LEGEND),
            unit=a_second("handshakes"),
            width=24,
        ),
    ]


def _failures() -> list[Panel]:
    return [
        lines(
            "Failed attempts by reason",
            "Why do connections fail? Failed attempts a second by reason. refused: nobody listens, or the backlog is full. "
            "timed_out: no answer, a firewall perhaps. canceled: the application gave up first. no_port: out of ephemeral "
            "ports, see 'Connections and ports'.",
            Query(happening("handshake_failures_total", "reason"), "{{reason}}"),
            unit=a_second("attempts"),
            stacked=True,
            nothing="no failure",
        ),
        lines(
            "Failed share of attempts by service",
            "What share of each service's attempts fails? Failed attempts of all attempts by service; nothing where there was "
            "no attempt. The dashed lines are 1 % and 5 %. Health checks of a port where nobody listens show up here at 100 "
            "%.",
            Query(failure_ratio(*SERVICE), SERVICE_LEGEND),
            unit="percentunit",
            steps=RATIO_STEPS,
            nothing="no attempt",
        ),
    ]


def _retransmissions() -> list[Panel]:
    again = "retransmitted_segments_total"
    client, server = (attempts(matchers=(f'role="{role}"',)) for role in ("client", "server"))
    share = ratio(total(rate(again, DATA), *SERVICE), total(rate("sent_segments_total"), *SERVICE))
    return [
        lines(
            "Retransmissions by kind",
            "What is retransmitted, and why? Segments retransmitted by kind. fast: the peer told of a gap, the cheap way. "
            "timeout: the timer ran out, which stalls a connection for 200 ms and more. syn and syn_ack: connections that are "
            "slow to open. mtu: segments were too large for the path, as in a tunnel; no loss.",
            Query(happening(again, "kind"), "{{kind}}"),
            unit=a_second("segments"),
            width=8,
            stacked=True,
            nothing="nothing was retransmitted",
        ),
        lines(
            "Retransmitted SYNs and SYN-ACKs per attempt",
            "How often does a handshake need another try? SYNs retransmitted for each attempt of a client, SYN-ACKs for each "
            "of a server. Each costs its connection a second or more. On a good network it is below 0.1 %; above 1 % somebody "
            "drops packets, or a backlog overflows.",
            Query(ratio(total(rate(again, SYN)), client), "SYN for each client's attempt"),
            Query(ratio(total(rate(again, SYN_ACK)), server), "SYN-ACK for each server's attempt"),
            unit="percentunit",
            width=8,
            steps=RATIO_STEPS,
            nothing="no attempt",
        ),
        lines(
            "Retransmitted share of segments by service",
            "What share of the segments is retransmitted? Data segments retransmitted (fast, timeout, tail-loss probe, mtu) "
            "of all segments sent, by service, open connections included. Below 0.1 % nobody notices; above 1 % throughput "
            "over a distance suffers.",
            Query(share, SERVICE_LEGEND),
            unit="percentunit",
            width=8,
            nothing="nothing was sent",
        ),
    ]


def _closes() -> list[Panel]:
    return [
        lines(
            "Closed connections by reason",
            "How do connections end? Ends a second by reason. normal: both sides closed in order. reset_sent and "
            "reset_received: cut off. timed_out: the peer was gone. other: an error of the network, or a socket that the "
            "kernel dropped (too many orphans, say). Some resets are a habit of clients in a hurry; a change of the mix is "
            "what matters.",
            Query(happening("connections_closed_total", "reason"), "{{reason}}"),
            unit=a_second("connections"),
            width=8,
            stacked=True,
            nothing="no connection ended",
        ),
        lines(
            "Resets sent by service and reason",
            "Why do we send resets? Resets sent by the kernel's own reason (older kernels give none: unspecified). no_socket: "
            "nobody listens there. tcp_abort_on_data: closed with data unread, or arriving after the close, which costs the "
            "peer what was on its way.",
            Query(happening("resets_sent_total", *SERVICE, "reason"), f"{SERVICE_LEGEND} {{{{reason}}}}"),
            unit=a_second("resets"),
            width=8,
            stacked=True,
            nothing="no reset sent",
        ),
        lines(
            "Resets received by service",
            "Whom do peers send resets? Resets received for a connection by service. A load balancer or firewall that forgets "
            "idle connections shows up here as resets on long-lived services: shorten keep-alive below its limit.",
            Query(happening("resets_received_total", *SERVICE), SERVICE_LEGEND),
            unit=a_second("resets"),
            width=8,
            stacked=True,
            nothing="no reset received",
        ),
    ]
