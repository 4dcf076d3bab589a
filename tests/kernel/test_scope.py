"""Who is no connection, and who is half of one: MPTCP's own sockets, listeners, and sockets from before the tracing."""

from __future__ import annotations

from tests.kernel.net import SERVER, Link
from tests.kernel.tracing import tracing
from tests.kernel.traffic import connect, converse, listening, talk
from tests.kernel.until import until
from tests.needs import skip_for_lack_of

IPPROTO_MPTCP = 262
TIMES = 23


def test_listeners_are_counted_as_transitions_but_are_no_connections(link: Link, port: int) -> None:
    with tracing("--port", str(port)) as tracer:
        for _ in range(TIMES):
            with listening(link.server, SERVER[4], port):
                pass
        scrape, summary = tracer.scrape(), tracer.stop()
    assert summary.transitions == {("close", "listen"): TIMES, ("listen", "close"): TIMES}
    assert summary.document["handshakes"] == summary.document["failures"] == summary.document["closes"] == []
    assert scrape.value("connections_partial_total") == 0
    assert scrape.value("events_total") == 0


def test_an_mptcp_connection_is_its_subflow_and_nothing_more(link: Link, port: int) -> None:
    try:
        with listening(link.server, SERVER[4], protocol=IPPROTO_MPTCP):
            pass
    except OSError as error:
        skip_for_lack_of(f"MPTCP: {error}")
    with tracing("--port", str(port)) as tracer:
        with listening(link.server, SERVER[4], port, protocol=IPPROTO_MPTCP) as listener:
            talk(link.client, listener, SERVER[4], times=TIMES, protocol=IPPROTO_MPTCP)
        assert link.client.counters()["MPCapableSYNTX"] == TIMES
        until(lambda: not link.client.open_sockets() + link.server.open_sockets(), "every subflow has ended")
        scrape, summary = tracer.scrape(), tracer.stop()
    for role in ("client", "server"):
        assert summary.count("handshakes", role=role, port=port) == TIMES
        assert summary.count("closes", role=role, port=port) == TIMES
    assert summary.transitions["close", "syn_sent"] == TIMES
    assert summary.transitions["listen", "syn_recv"] == TIMES
    assert summary.document["failures"] == []
    assert scrape.value("connections_partial_total") == 0


def test_a_connection_older_than_the_tracer_is_partial_and_in_no_duration(link: Link, port: int) -> None:
    with listening(link.server, SERVER[4], port) as listener:
        old = [(connect(link.client, SERVER[4], port), listener.accept()[0]) for _ in range(TIMES)]
        with tracing("--port", str(port)) as tracer:
            for client, server in old:
                converse(client, server)
            talk(link.client, listener, SERVER[4], times=1)
            tracer.wait_for_transitions({("fin_wait2", "close"): TIMES + 1, ("last_ack", "close"): TIMES + 1})
            scrape, summary = tracer.scrape(), tracer.stop()
    assert scrape.value("connections_partial_total") == 2 * TIMES
    for role in ("client", "server"):
        own = {"role": role, "port": str(port)}
        assert scrape.value("connections_closed_total", **own) == TIMES + 1
        for histogram in ("handshake_duration_seconds", "connection_duration_seconds"):
            assert scrape.value(f"{histogram}_count", **own) == 1
        assert summary.count("handshakes", role=role, port=port) == 1
    for state in ("established", "close_wait", "fin_wait1"):
        assert scrape.value("state_duration_seconds_count", state=state) == (2 if state == "established" else 1)
    assert scrape.value("connections") == 0


def test_the_side_that_listened_is_the_server_although_its_listener_has_gone(link: Link, high_port: int) -> None:
    with listening(link.server, SERVER[6], high_port) as listener:
        client, server = connect(link.client, SERVER[6], high_port), listener.accept()[0]
    with tracing("--port", str(high_port)) as tracer:
        converse(client, server)
        tracer.wait_for_transitions({("fin_wait2", "close"): 1, ("last_ack", "close"): 1})
        summary = tracer.stop()
    for role in ("client", "server"):
        assert summary.count("closes", role=role, port=high_port) == 1
