"""Closes that find no room for a timewait object (net.ipv4.tcp_max_tw_buckets), in a namespace that is not the tracer's."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kernel.capture import ACK, FIN, SYN
from tests.kernel.net import Namespace, namespace
from tests.kernel.scene import states
from tests.kernel.timewait import timewait_objects
from tests.kernel.tracing import tracing
from tests.kernel.traffic import connect, listening
from tests.kernel.until import until
from tests.kernel.wire import THERE, Segment, Wire, wire
from tests.needs import skip_for_lack_of

ROOM, TIMES = 5, 23
HOST = {4: "127.0.0.1", 6: "::1"}


def shut_down_first(client: socket.socket, server: socket.socket) -> None:
    client.shutdown(socket.SHUT_WR)
    assert server.recv(1) == b""
    server.close()
    assert client.recv(1) == b""
    client.close()


def close_first(client: socket.socket, server: socket.socket) -> None:
    """Leave the peer's FIN to the kernel; where it has no room for that, its answer to it is a reset."""
    client.close()
    assert server.recv(1) == b""
    server.close()


def server_closes_first(client: socket.socket, server: socket.socket) -> None:
    shut_down_first(server, client)


WAYS: dict[str, Callable[[socket.socket, socket.socket], None]] = {
    "shutdown, the peer's FIN, close": shut_down_first,
    "close before the peer's FIN": close_first,
    "the server first": server_closes_first,
}


@pytest.mark.parametrize("family", HOST)
@pytest.mark.parametrize("way", WAYS)
def test_only_closes_that_found_room_have_left_a_timewait_object(side: Namespace, port: int, way: str, family: int) -> None:
    side.set("net.ipv4.tcp_max_tw_buckets", str(ROOM))
    with tracing("--port", str(port)) as tracer, listening(side, HOST[family], port) as listener:
        for _ in range(TIMES):
            WAYS[way](connect(side, HOST[family], port), listener.accept()[0])
        until(lambda: tracer.scrape().value("connections_closed_total") == 2 * TIMES, "all ends are counted")
        scrape = tracer.scrape()
        kernel = side.counters()
        left = timewait_objects(side)
    assert (left, kernel["TCPTimeWaitOverflow"]) == (ROOM, TIMES - ROOM)
    role = "server" if way == "the server first" else "client"
    assert scrape.value("time_wait_entries_total", role=role) == ROOM
    assert scrape.value("time_wait_entries_total") == ROOM
    assert scrape.value("connections_closed_total", role=role, reason="normal") == TIMES
    assert scrape.value("connections") == 0


@pytest.fixture(name="small")
def fixture_small(side: Namespace) -> Iterator[Namespace]:
    """Return a namespace whose table of sockets has 16 places."""
    with side.inside():
        if not Path("/proc/sys/net/ipv4/tcp_child_ehash_entries").exists():
            skip_for_lack_of("tables of sockets for each namespace (Linux 6.1)")
    side.set("net.ipv4.tcp_child_ehash_entries", "16")
    with side.inside(), namespace() as small:
        yield small


def test_timewait_objects_are_found_among_many_in_the_same_place(small: Namespace, port: int) -> None:
    small.set("net.ipv4.tcp_max_tw_buckets", "101")
    with tracing("--port", str(port)) as tracer, listening(small, "127.0.0.1", port) as listener:
        for _ in range(123):
            shut_down_first(connect(small, "127.0.0.1", port), listener.accept()[0])
        until(lambda: tracer.scrape().value("connections_closed_total") == 246, "all ends are counted")
        scrape = tracer.scrape()
    assert scrape.value("time_wait_entries_total") == timewait_objects(small) == 101


def test_an_end_in_closing_that_finds_no_room_has_left_no_timewait_object(side: Namespace, port: int) -> None:
    side.set("net.ipv4.tcp_max_tw_buckets", "1")
    with tracing("--port", str(port)) as tracer, wire(side) as peer:
        for _ in range(2):
            close_at_once(side, peer, port)
        until(lambda: tracer.scrape().value("connections_closed_total") == 2, "both ends are counted")
        scrape = tracer.scrape()
        kernel = side.counters()
    assert (scrape.transitions["closing", "close"], kernel["TCPTimeWaitOverflow"]) == (2, 1)
    assert scrape.value("time_wait_entries_total") == 1
    assert scrape.value("connections_closed_total", reason="normal") == 2


def close_at_once(side: Namespace, peer: Wire, port: int) -> None:
    """Open a connection to a peer that is played, and have both of them close at the same moment."""
    with side.inside(), socket.socket() as client:
        client.setblocking(False)
        client.connect_ex((THERE, port))
        syn = peer.hear(SYN)
        ours = syn.sequence + 1
        peer.write(Segment(port, syn.sport, 1000, ours, SYN | ACK))
        peer.hear(ACK)
        client.shutdown(socket.SHUT_WR)
        peer.hear(FIN)
        peer.write(Segment(port, syn.sport, 1001, ours, FIN | ACK))
        until(lambda: states(side)["closing"] == 1, "the end is in CLOSING")
        peer.write(Segment(port, syn.sport, 1002, ours + 1, ACK))
        until(lambda: states(side)["closing"] == 0, "it has ended")
