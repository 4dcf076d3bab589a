"""The row about open connections of the dashboard of connections: what they carry now, what they lose, what holds them up."""

from __future__ import annotations

from dashboards.overview import SERVICE, SERVICE_LEGEND
from dashboards.panels import Panel, Query, a_second, lines
from dashboards.queries import largest, rate, ratio, series, total

LOSS_STEPS = ((None, "green"), (0.01, "orange"), (0.05, "red"))
BUSY = total(rate("busy_seconds_total"), *SERVICE)


def open_connections() -> list[Panel]:
    """Return the panels of the row."""
    return [*_traffic(), *_losses(), *_waits()]


def listeners() -> list[Panel]:
    """Return the panels about listeners, and about who does not close."""
    by = ("instance", "port", "process")
    legend = "{{port}} {{process}} on {{instance}}"
    by_role, of_role = ("instance", "role", "port", "process"), "{{role}} {{port}} {{process}} on {{instance}}"
    full = ratio(largest(series("listener_backlog"), *by), largest(series("listener_backlog_limit"), *by))
    return [
        lines(
            "Accept queue use by listener",
            "How full are the listeners' queues? Connections that nobody has accepted yet, of those that may wait (the "
            "smaller of listen()'s backlog and net.core.somaxconn), of the fullest listener. At 100 % new connections are "
            "dropped.",
            Query(full, legend),
            unit="percentunit",
            width=8,
            steps=((None, "green"), (0.5, "orange"), (1, "red")),
            nothing="nobody listens",
        ),
        lines(
            "Dropped SYNs by listener",
            "Do listeners drop connections? SYNs that listeners had no room for, a second. The client's kernel tries again a "
            "second later, so each is a slow connection at least. Where the network loses segments, duplicates of a SYN that "
            "is being answered count as well.",
            Query(total(rate("listener_drops_total"), *by), legend),
            unit=a_second("SYNs"),
            width=8,
            steps=((None, "green"), (1e-9, "red")),
            nothing="nobody listens",
        ),
        lines(
            "CLOSE_WAIT and FIN_WAIT2 by process",
            "Who does not close? Connections in CLOSE_WAIT by service and process: the peer has closed, the process has not. "
            "What only grows is a leak of descriptors. In FIN_WAIT2 it is the peer that has not closed.",
            Query(total(series("close_wait_sockets"), *by_role), f"CLOSE_WAIT {of_role}"),
            Query(total(series("fin_wait2_sockets"), *by_role), f"FIN_WAIT2 {of_role}"),
            unit="short",
            width=8,
            nothing="none",
        ),
    ]


def _traffic() -> list[Panel]:
    return [
        lines(
            "Payload by service",
            "How much payload is carried now? Bytes a second by service, of open connections too, as dumps of the sockets "
            "show them. Sent is what the peer acknowledged; headers and retransmissions are not in it.",
            Query(total(rate("sent_bytes_total"), *SERVICE), f"{SERVICE_LEGEND} sent"),
            Query(total(rate("received_bytes_total"), *SERVICE), f"{SERVICE_LEGEND} received"),
            unit="Bps",
            width=8,
        ),
        lines(
            "Segments by service",
            "How many segments are carried? Segments a second by service, with and without payload, retransmissions included.",
            Query(total(rate("sent_segments_total"), *SERVICE), f"{SERVICE_LEGEND} sent"),
            Query(total(rate("received_segments_total"), *SERVICE), f"{SERVICE_LEGEND} received"),
            unit=a_second("segments"),
            width=8,
        ),
        lines(
            "Round-trip time of open connections by service",
            "How far away are the peers of open connections? Smoothed round-trip time of the connections that were open at "
            "the last dump: the longest of the hosts' medians and 99th percentiles, by service. It needs no connection to "
            "end.",
            Query(largest(series("open_rtt_seconds", 'quantile="0.5"'), *SERVICE), f"{SERVICE_LEGEND} median"),
            Query(largest(series("open_rtt_seconds", 'quantile="0.99"'), *SERVICE), f"{SERVICE_LEGEND} p99"),
            unit="s",
            width=8,
            logarithmic=True,
            nothing="no open connection",
        ),
    ]


def _losses() -> list[Panel]:
    again = total(rate("retransmitted_segments_total"), *SERVICE)
    ahead = total(rate("out_of_order_segments_total"), *SERVICE)
    return [
        lines(
            "Retransmitted share of segments by service",
            "What share of the segments is retransmitted? Retransmitted segments of all that were sent, by service. Below 0.1 "
            "% nobody notices; above 1 % throughput over a distance suffers.",
            Query(ratio(again, total(rate("sent_segments_total"), *SERVICE)), SERVICE_LEGEND),
            unit="percentunit",
            steps=LOSS_STEPS,
            nothing="nothing was sent",
        ),
        lines(
            "Out-of-order share of segments by service",
            "What share of the segments comes out of order? Received segments that came ahead of others, of all that were "
            "received, by service: those before them were lost, or took another way.",
            Query(ratio(ahead, total(rate("received_segments_total"), *SERVICE)), SERVICE_LEGEND),
            unit="percentunit",
            nothing="nothing was received",
        ),
    ]


def _waits() -> list[Panel]:
    limited = total(rate("limited_seconds_total"), *SERVICE, "by")
    return [
        lines(
            "Time limited by receive window or send buffer",
            "What keeps senders from sending? Of the time in which there was something to send, the share in which the peer's "
            "receive window (its application reads too slowly) or the own send buffer (SO_SNDBUF, tcp_wmem) was too small.",
            Query(f"{limited} / on (role, port) group_left () ({BUSY} > 0)", f"{SERVICE_LEGEND} {{{{by}}}}"),
            unit="percentunit",
            width=8,
            nothing="nothing was sent",
        ),
        lines(
            "Bytes in queues by service",
            "Where does data wait? Bytes in the queues of open connections: not sent yet, sent and not acknowledged, received "
            "and not read. What stays unread is an application here that does not read.",
            *(
                Query(total(series(f"{name}_bytes"), *SERVICE), f"{SERVICE_LEGEND} {what}")
                for name, what in (("unsent", "unsent"), ("unacknowledged", "unacknowledged"), ("receive_queue", "unread"))
            ),
            unit="bytes",
            width=8,
        ),
        lines(
            "Connections with data to send by service",
            "How much of the time is there something to send? Connections that have data sent and not acknowledged, or "
            "waiting to be sent, on average, by service.",
            Query(BUSY, SERVICE_LEGEND),
            unit="short",
            width=8,
        ),
    ]
