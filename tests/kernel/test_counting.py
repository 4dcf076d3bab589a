"""A known number of connections, of every kind, is counted exactly: in the summary, and in the metrics before it."""

from __future__ import annotations

from tests.kernel.net import SERVER, Link
from tests.kernel.tracing import Scrape, Summary, Tracing, Transitions, tracing
from tests.kernel.traffic import PING, PONG, connect, listening, refuse, talk
from tests.needs import shown

EACH = 23
BOTH = 2 * EACH
REFUSED = {4: 3, 6: 2}

CONNECTIONS: Transitions = {
    ("close", "syn_sent"): BOTH + 5,
    ("syn_sent", "close"): 5,
    ("syn_sent", "established"): BOTH,
    ("established", "fin_wait1"): BOTH,
    ("fin_wait1", "fin_wait2"): BOTH,
    ("fin_wait2", "close"): BOTH,
    ("listen", "syn_recv"): BOTH,
    ("syn_recv", "established"): BOTH,
    ("established", "close_wait"): BOTH,
    ("close_wait", "last_ack"): BOTH,
    ("last_ack", "close"): BOTH,
}
LISTENERS: Transitions = {("close", "listen"): 2, ("listen", "close"): 2}


def make_connections(link: Link, port: int) -> None:
    for family, times in REFUSED.items():
        for _ in range(times):
            refuse(link.client, SERVER[family], port)
    for family in (4, 6):
        with listening(link.server, SERVER[family], port) as listener:
            talk(link.client, listener, SERVER[family], times=EACH)


def run_connections(link: Link, port: int) -> tuple[Scrape, Summary]:
    with tracing("--port", str(port)) as tracer:
        make_connections(link, port)
        tracer.wait_for_transitions(CONNECTIONS)
        return tracer.scrape(), tracer.stop()


def retransmitted(link: Link) -> int:
    """Return what the kernel counted: nothing, unless the machine stood still for longer than a timer runs."""
    return sum(side.counters()["RetransSegs"] for side in (link.client, link.server))


def test_every_connection_of_a_known_number_is_in_the_summary(link: Link, port: int) -> None:
    before = retransmitted(link)
    _, summary = run_connections(link, port)
    assert summary.transitions == CONNECTIONS | LISTENERS
    assert [(row["role"], row["port"], row["count"]) for row in summary.document["handshakes"]] == [
        ("client", port, BOTH),
        ("server", port, BOTH),
    ]
    assert summary.document["failures"] == [{"role": "client", "port": port, "reason": "refused", "count": 5}]
    assert summary.document["closes"] == [
        {"role": role, "port": port, "reason": "normal", "count": BOTH} for role in ("client", "server")
    ]
    assert sum(row["count"] for row in summary.document["retransmitted_segments"]) == retransmitted(link) - before
    assert summary.document["events_lost"] == 0
    assert summary.document["connections_untracked"] == 0


def test_the_metrics_say_the_same_while_it_runs(link: Link, port: int) -> None:
    scrape, _ = run_connections(link, port)
    assert scrape.transitions == CONNECTIONS | LISTENERS
    for role, sent, received in (("client", PING, PONG), ("server", PONG, PING)):
        own = {"role": role, "port": str(port)}
        assert scrape.value("handshakes_total", **own) == BOTH
        assert scrape.value("handshake_duration_seconds_count", **own) == BOTH
        assert scrape.value("handshake_failures_total", **own) == (5 if role == "client" else 0)
        assert scrape.value("connections_closed_total", **own, reason="normal") == BOTH
        assert scrape.value("connections", **own) == 0
        assert scrape.value("sent_bytes_total", **own) == BOTH * len(sent)
        assert scrape.value("received_bytes_total", **own) == BOTH * len(received)
    assert scrape.value("handshake_failures_total", reason="refused") == 5
    assert scrape.value("resets_received_total", role="client") == 5
    assert (scrape.value("resets_sent_total", role="server") or 0) == (shown("stray_resets", 5) or 0)
    for nothing in (
        "events_lost_total",
        "connections_untracked_total",
        "connections_partial_total",
        "program_misses_total",
        "events_unreached_total",
    ):
        assert scrape.value(nothing) == 0


def test_an_open_connection_is_one_until_it_is_closed(link: Link, port: int) -> None:
    with tracing("--port", str(port)) as tracer, listening(link.server, SERVER[6], port) as listener:
        with connect(link.client, SERVER[6], port), listener.accept()[0]:
            tracer.wait_for_transitions({("syn_recv", "established"): 1})
            assert open_connections(tracer) == 2
        tracer.wait_for_transitions({("fin_wait2", "close"): 1, ("last_ack", "close"): 1})
        assert open_connections(tracer) == 0


def open_connections(tracer: Tracing) -> float | None:
    return tracer.scrape().value("connections")
