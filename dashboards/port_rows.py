"""The rows about ephemeral ports and TIME_WAIT of the dashboard of connections, and the forecast of when the ports run out."""

from __future__ import annotations

from dashboards.overview import SERVICE, SERVICE_LEGEND
from dashboards.panels import Panel, Query, a_second, lines, number
from dashboards.queries import largest, port_use, rate, series, total

PORT_STEPS = ((None, "green"), (0.7, "orange"), (0.9, "red"))
DAY = 86_400
# Long enough to see a slope through the ups and downs of a second, short enough to notice a deployment.
SLOPE_RANGE = "15m"

USED = series("ephemeral_ports_used")
FREE = f"({series('ephemeral_ports_limit')} - on (job, instance, netns) group_right () {USED})"
TIME_LEFT = f"{FREE} / (deriv({USED}[{SLOPE_RANGE}]) > 0)"
IN_AN_HOUR = port_use(f"clamp_min(predict_linear({USED}[{SLOPE_RANGE}], 3600), 0)")
BY_DESTINATION = ("instance", "destination")
DESTINATION_LEGEND = "{{destination}} from {{instance}}"


def glance() -> list[Panel]:
    """Return the figures about ports."""
    return [
        number(
            "Ephemeral ports in use",
            "How full are the ports? Ephemeral ports in use towards the destination with most, of all there are for it. Above "
            "70 % look at the row on ports below; at 100 % connect() fails with EADDRNOTAVAIL.",
            Query(f"max({port_use()})"),
            unit="percentunit",
            steps=PORT_STEPS,
            nothing="no client",
        ),
        number(
            "Time until no port",
            "When do ports run out? Time until a destination has no port left, if the last 15 minutes go on. 'Not in a day' "
            "is the good answer.",
            Query(f"min({TIME_LEFT}) < {DAY}", now=True),
            unit="s",
            steps=((None, "green"), (0, "red"), (3600, "orange"), (6 * 3600, "green")),  # nothing is good as well
            nothing="not in a day",
        ),
        number(
            "Attempts without a port",
            "How many found no port? Attempts a second that failed because no ephemeral port was free. Anything but zero is "
            "an outage for that destination.",
            Query(total(rate("handshake_failures_total", 'reason="no_port"'))),
            unit=a_second("attempts"),
            steps=((None, "green"), (1e-9, "red")),
        ),
    ]


def ports() -> list[Panel]:
    """Return the panels about how many ports are left, and for how long."""
    return [
        lines(
            "Ephemeral ports in use by destination",
            "How many of the ephemeral ports are in use? Share of the local ports in use towards each destination, TIME_WAIT "
            "included. The dashed lines are 70 % and 90 %. Remedies: keep-alive or pools, more addresses, a wider "
            "net.ipv4.ip_local_port_range.",
            Query(largest(port_use(), *BY_DESTINATION), DESTINATION_LEGEND),
            unit="percentunit",
            steps=PORT_STEPS,
            nothing="no client",
        ),
        lines(
            "Ephemeral ports in use in an hour, forecast",
            "How many will be in use in an hour? The same, an hour from each moment, if the 15 minutes before it go on. Above "
            "100 % is an outage to come; a short peak after a deployment passes.",
            Query(largest(IN_AN_HOUR, *BY_DESTINATION), DESTINATION_LEGEND),
            unit="percentunit",
            steps=PORT_STEPS,
            nothing="no client",
        ),
        lines(
            "Time until no port by destination",
            "When do the ports run out? Time until a destination has no port left, if the 15 minutes before go on; only those "
            "that would within a day. A line that falls towards zero is the one to act on.",
            Query(f"min by ({', '.join(BY_DESTINATION)}) ({TIME_LEFT}) < {DAY}", DESTINATION_LEGEND),
            unit="s",
            nothing="not in a day",
        ),
        lines(
            "Ephemeral ports: limit and in use",
            "How many ports are there? Ephemeral ports for each destination (net.ipv4.ip_local_port_range less what is "
            "reserved), and those in use towards each. A limit with a network namespace is of one in which it is another than "
            "in tcptrace's own.",
            Query(largest(series("ephemeral_ports_limit"), "instance", "netns"), "{{instance}} limit {{netns}}"),
            Query(largest(USED, *BY_DESTINATION), DESTINATION_LEGEND),
            unit="short",
        ),
    ]


def time_wait() -> list[Panel]:
    """Return the panels about what TIME_WAIT holds, and who fills it."""
    return [
        lines(
            "TIME_WAIT by destination",
            "Which destinations fill TIME_WAIT? Sockets in TIME_WAIT by the service's address and port: the largest few, the "
            "rest as other. Where a client closes first they hold its ephemeral ports; let the server close, or keep "
            "connections open.",
            Query(total(series("time_wait_sockets"), "destination"), "{{destination}}"),
            unit="short",
            stacked=True,
        ),
        lines(
            "TIME_WAIT entries by service",
            "Which services close first? Closes a second that left a TIME_WAIT behind on this side. Times 60 s, it is how "
            "many there will be: 470 a second towards one destination use up the 28,232 ports of a default configuration.",
            Query(total(rate("time_wait_entries_total"), *SERVICE), SERVICE_LEGEND),
            unit=a_second("connections"),
            stacked=True,
        ),
    ]
