"""How many connections are open, those that were there before included, and how many end in TIME_WAIT."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.kernel.net import SERVER, Link, Namespace, link
from tests.kernel.tracing import Tracing, tracing
from tests.kernel.traffic import Peer, connect, converse, listening, talk
from tests.kernel.until import until
from tests.needs import tool

OLD, NEW = 230, 23
ROLES = ("client", "server")


def wait_for_open(tracer: Tracing, wanted: int) -> None:
    def seen() -> bool:
        scrape = tracer.scrape()
        return all(scrape.value("connections", role=role) == wanted for role in ROLES)

    until(seen, f"{wanted} connections are open on both sides")


@pytest.mark.parametrize("family", [4, 6])
def test_connections_that_were_open_before_are_counted_until_they_close_and_in_no_duration(
    link: Link, port: int, family: int
) -> None:
    with (
        Peer(link.client),  # who live in the namespaces, so that these are found
        Peer(link.server),
        listening(link.server, SERVER[family], port) as listener,
    ):
        old = [(connect(link.client, SERVER[family], port), listener.accept()[0]) for _ in range(OLD)]
        with tracing("--port", str(port), "--label", "peer") as tracer:
            wait_for_open(tracer, OLD)
            new = [(connect(link.client, SERVER[family], port), listener.accept()[0]) for _ in range(NEW)]
            wait_for_open(tracer, OLD + NEW)
            for client, server in old:
                converse(client, server)
            wait_for_open(tracer, NEW)
            for client, server in new:
                converse(client, server)
            wait_for_open(tracer, 0)
            scrape = tracer.scrape()
    assert scrape.value("connections_partial_total") == 2 * OLD
    assert scrape.value("connections_closed_total") == 2 * (OLD + NEW)
    assert scrape.value("connection_duration_seconds_count") == 2 * NEW


def test_the_service_of_a_connection_is_known_although_its_listener_is_gone_and_its_port_ephemeral(side: Namespace) -> None:
    """As FTP's passive mode has it: a listener for one connection, on a port like the client's."""
    with Peer(side), ExitStack() as stack:
        with listening(side, "127.0.0.1") as listener:
            port = listener.getsockname()[1]
            stack.enter_context(connect(side, "127.0.0.1", port))
            stack.enter_context(listener.accept()[0])
        with tracing("--label", "netns") as tracer:
            netns = str(Path(side.path).stat().st_ino)
            until(lambda: tracer.scrape().value("connections", netns=netns), "it is found")
            scrape = tracer.scrape()
    assert [scrape.value("connections", role=role, port=str(port), netns=netns) for role in ROLES] == [1, 1]


def timewait_objects(side: Namespace) -> tuple[int, int]:
    """Return how many timewait objects there are, and how many were ever made: counted as TW, or TWKilled if short-lived."""
    with side.inside():
        text = Path("/proc/thread-self/net/sockstat").read_text(encoding="ascii")
    words = next(line.split() for line in text.splitlines() if line.startswith("TCP:"))
    counters = side.counters()
    return int(words[words.index("tw") + 1]), counters["TW"] + counters["TWKilled"]


def test_entries_into_time_wait_are_as_many_as_the_kernels_objects(link: Link, port: int) -> None:
    with tracing("--port", str(port)) as tracer, ExitStack() as stack:
        listener = stack.enter_context(listening(link.server, SERVER[4], port))
        talk(link.client, listener, SERVER[4], times=NEW)
        for _ in range(5):  # aborted: no object on either side
            client, server = connect(link.client, SERVER[4], port), listener.accept()[0]
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
            server.close()
        server_first = connect(link.client, SERVER[4], port), listener.accept()[0]
        server_first[1].close()
        assert server_first[0].recv(1) == b""
        server_first[0].close()
        until(lambda: not link.client.open_sockets() + link.server.open_sockets(), "every connection has ended")
        wait_for_open(tracer, 0)
        scrape = tracer.scrape()
        assert timewait_objects(link.client) == (NEW, NEW)
        assert timewait_objects(link.server) == (1, 1)
        assert scrape.value("time_wait_entries_total", role="client") == NEW
        assert scrape.value("time_wait_entries_total", role="server") == 1


def test_a_namespace_that_goes_away_with_its_connections_leaves_none_open(port: int) -> None:
    with tracing("--port", str(port)) as tracer:
        with link() as gone, listening(gone.server, SERVER[4], port) as listener:
            client = connect(gone.client, SERVER[4], port)
            with client, listener.accept()[0] as server:
                wait_for_open(tracer, 1)
                for side in (gone.client, gone.server):
                    side.set("net.ipv4.tcp_orphan_retries", "1")
                gone.client.run(tool("ip"), "link", "delete", "veth")
                client.close()
                server.close()
        # held by nothing but two orphans, whose FIN nobody acknowledges
        wait_for_open(tracer, 0)
        summary = tracer.stop()
    assert summary.count("closes", reason="timed_out") + summary.count("closes", reason="other") == 2
    assert summary.count("closes") == summary.count("handshakes") == 2
