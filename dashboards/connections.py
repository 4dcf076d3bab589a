"""The dashboard of what connections do: how long they live, how far their peers are, their states, and whether ports will last.

The counts of sockets come from the kernel's own list of them and not from events, so TIME_WAIT is in them.
"""

from __future__ import annotations

from dashboards import open_rows, port_rows
from dashboards.overview import SERVICE, SERVICE_LEGEND
from dashboards.panels import Column, Dashboard, Panel, Query, a_second, heat, lines, number, rows
from dashboards.queries import HOST, happening, mean, quantile, rate, ratio, series, spread, total


def dashboard() -> Dashboard:
    """Return the dashboard."""
    return Dashboard(
        "connections",
        "Connections and ports",
        "Open connections, lifetimes, round trips, payload, socket states, TIME_WAIT and the use of ephemeral ports.",
        rows=[
            ("At a glance", [*_sockets(), *port_rows.glance()]),
            ("Connections", _connections()),
            ("Open connections", open_rows.open_connections()),
            ("Listeners", open_rows.listeners()),
            ("Containers", _containers()),
            ("Payload and distance", _payload()),
            ("States", [*_states(), *_changes()]),
            ("Ephemeral ports", port_rows.ports()),
            ("TIME_WAIT", port_rows.time_wait()),
            ("The count of sockets", _snapshot()),
        ],
    )


def _sockets() -> list[Panel]:
    def sockets(state: str) -> Query:
        return Query(total(series("sockets", f'state="{state}"')))

    return [
        number(
            "Established sockets",
            "How many sockets are connected? Established sockets, both ends of a connection within the host. Compare it with "
            "your descriptor limits.",
            sockets("established"),
            unit="short",
        ),
        number(
            "Sockets in CLOSE_WAIT",
            "How many in CLOSE_WAIT? CLOSE_WAIT: the peer has closed, and the application here has not. A few are normal, a "
            "growing number is a leak; 'tcptrace snapshot' names the processes.",
            sockets("close_wait"),
            unit="short",
            steps=((None, "green"), (100, "orange"), (1000, "red")),
        ),
        number(
            "Sockets in TIME_WAIT",
            "How many in TIME_WAIT? Ended connections that the side that closed first remembers for a minute. They cost "
            "little memory, but each holds an ephemeral port towards its destination.",
            sockets("time_wait"),
            unit="short",
        ),
    ]


def _connections() -> list[Panel]:
    lives = "connection_duration_seconds"
    return [
        lines(
            "Open connections by service",
            "Which services have open connections? Open connections by service, those from before the start included. A "
            "sawtooth is a pool that is renewed, a ramp without end is a leak.",
            Query(total(series("connections"), *SERVICE), SERVICE_LEGEND),
            unit="short",
        ),
        lines(
            "Closed connections by service",
            "Which services' connections end? Ends a second by service, in whatever way. Compare it with handshakes: equal "
            "means steady.",
            Query(total(rate("connections_closed_total"), *SERVICE), SERVICE_LEGEND),
            unit=a_second("connections"),
        ),
        heat(
            "Lifetimes",
            "How long do connections live? Every connection that ended, by its age. Followed of milliseconds are requests "
            "without keep-alive; a sharp band at a round number of seconds is somebody's idle timeout.",
            Query(spread(lives), "{{le}}"),
            nothing="no connection ended",
        ),
        lines(
            "Lifetime by service: median and mean",
            "Which services' connections are short? Median and mean age of connections that ended, by service. Where the mean "
            "is far above the median, few long ones stand beside many short ones. A median below a second is worth a "
            "connection pool.",
            Query(quantile(0.5, lives, *SERVICE), f"{SERVICE_LEGEND} median"),
            Query(mean(lives, *SERVICE), f"{SERVICE_LEGEND} mean"),
            unit="s",
            logarithmic=True,
            nothing="no connection ended",
        ),
    ]


def _containers() -> list[Panel]:
    by = (*HOST, "container")
    known = f"on ({', '.join(by)}) group_left (container_id, pod_uid, unit) {series('container_info')}"

    def of_known(expression: str) -> str:
        return f"{expression} * {known}"

    return [
        rows(
            "Connections and handshakes by container",
            "Which containers have connections? Open connections and handshakes a second of each container or systemd unit, "
            "with the whole id, by which the runtime and kube-state-metrics know it, and its pod's uid. Empty unless tcptrace "
            "runs with --label container.",
            Column("open", of_known(total(series("connections"), *by))),
            Column("handshakes", of_known(total(rate("handshakes_total"), *by)), a_second("handshakes")),
            labels={"instance": "host", "container": "container", "container_id": "id", "pod_uid": "pod", "unit": "unit"},
            height=8,
        )
    ]


def _payload() -> list[Panel]:
    carried = (total(rate(name), *SERVICE) for name in ("sent_bytes_total", "received_bytes_total"))
    return [
        lines(
            "Round-trip time at the end by service",
            "How far away are the peers? Smoothed round-trip time at a connection's end: median and 99th percentile by "
            "service. It is the whole connection's, where the handshake is one sample; a gap between the two is queueing "
            "under load.",
            Query(quantile(0.5, "srtt_seconds", *SERVICE), f"{SERVICE_LEGEND} median"),
            Query(quantile(0.99, "srtt_seconds", *SERVICE), f"{SERVICE_LEGEND} p99"),
            unit="s",
            logarithmic=True,
            nothing="no connection ended",
        ),
        lines(
            "Payload per closed connection by service",
            "How much payload is there for each connection that ends? Payload, both ways together, for each connection that "
            "ended. Few bytes a connection mean that opening it costs more than using it.",
            Query(ratio(f"({' + '.join(carried)})", total(rate("connections_closed_total"), *SERVICE)), SERVICE_LEGEND),
            unit="decbytes",
            nothing="no connection ended",
        ),
    ]


def _states() -> list[Panel]:
    return [
        lines(
            "Sockets by state",
            "In which states are the sockets? All TCP sockets by state, from the kernel's own list. syn_sent that stays: "
            "nobody answers. fin_wait2 that grows: peers that do not close. last_ack that grows: peers that are gone.",
            Query(total(series("sockets"), "state"), "{{state}}"),
            unit="short",
            stacked=True,
        ),
        lines(
            "CLOSE_WAIT by host",
            "Does an application forget to close? CLOSE_WAIT by host. It should come back to near zero. Where it only ever "
            "grows, a process leaks its sockets until it has no descriptor left: 'tcptrace snapshot' on that host names it.",
            Query(total(series("sockets", 'state="close_wait"'), "instance"), "{{instance}}"),
            unit="short",
            links_to_host=True,
        ),
        lines(
            "Listening and half-open sockets by host",
            "Do the listeners keep up? Listening sockets, and connections half open at them (SYN_RECV), by host. Many half "
            "open for long are a SYN flood, or clients that the SYN-ACK does not reach. 'tcptrace snapshot' shows how full "
            "each backlog is.",
            Query(total(series("sockets", 'state="syn_recv"'), "instance"), "{{instance}} half open"),
            Query(total(series("sockets", 'state="listen"'), "instance"), "{{instance}} listening"),
            unit="short",
        ),
    ]


def _changes() -> list[Panel]:
    times = "state_duration_seconds"
    return [
        lines(
            "Time in each state: 90th percentile",
            "How long do connections stay in each state? 90th percentile of the time in each state, of connections that "
            "ended. close_wait is the application's delay in closing, last_ack and closing are the network's, fin_wait2 is "
            "the peer's.",
            Query(quantile(0.9, times, "state"), "{{state}}"),
            unit="s",
            logarithmic=True,
            nothing="no connection ended",
        ),
        lines(
            "State transitions",
            "Which changes of state happen? Every change of state a second, counted exactly in the kernel even if records are "
            "lost. established to close is a connection cut off; syn_sent to close an attempt that failed.",
            Query(happening("state_transitions_total", "from", "to"), "{{from}} to {{to}}"),
            unit=a_second("changes"),
            width=24,
        ),
    ]


def _snapshot() -> list[Panel]:
    return [
        lines(
            "Age of the socket counts",
            "How old are the counts of sockets? Time since tcptrace counted the sockets. On a host with very many it counts "
            "less often, to stay below 2 % of a core; minutes mean that the panels above lag. Counts that fail are tried "
            "again; while they do, the age grows and /healthz says so after a minute.",
            Query(series("snapshot_age_seconds"), "{{instance}}"),
            Query(series("open_figures_age_seconds"), "{{instance}}: figures of open connections"),
            Query(f"rate({series('snapshot_errors_total')}[$__rate_interval])", "{{instance}}: failed a second"),
            unit="s",
        ),
        lines(
            "Duration of a socket count",
            "How long does it take to count them? Time that the last count took: about 0.15 s for 200,000 sockets. It follows "
            "the number of sockets.",
            Query(series("snapshot_duration_seconds"), "{{instance}}"),
            unit="s",
        ),
    ]
