"""Every way in which a connection can end, produced for real and reported as such, on both sides."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.kernel.ends import Pair, abort, unread
from tests.kernel.path import DELAY, SERVER, route
from tests.kernel.scene import ROLES, receive, states
from tests.kernel.traffic import connect, listening
from tests.kernel.until import until
from tests.kernel.watching import Event, Watching
from tests.needs import shown, skip_for_lack_of, tool

pytestmark = pytest.mark.needs("nft")


def client_closes_first(pair: Pair) -> None:
    pair.client.close()
    assert pair.server.recv(1) == b""
    pair.server.close()


def server_closes_first(pair: Pair) -> None:
    pair.server.close()
    assert pair.client.recv(1) == b""
    pair.client.close()


def client_closes_half(pair: Pair) -> None:
    pair.client.shutdown(socket.SHUT_WR)
    assert pair.server.recv(1) == b""
    pair.server.sendall(bytes(2300))
    receive(pair.client, 2300)
    pair.server.close()
    assert pair.client.recv(1) == b""
    pair.client.close()


def both_close_at_once(pair: Pair) -> None:
    pair.client.close()
    pair.server.close()


def client_aborts(pair: Pair) -> None:
    abort(pair.client)
    with pytest.raises(ConnectionResetError):
        pair.server.recv(1)


def server_aborts(pair: Pair) -> None:
    abort(pair.server)
    with pytest.raises(ConnectionResetError):
        pair.client.recv(1)


def server_aborts_after_the_clients_end(pair: Pair) -> None:
    pair.client.shutdown(socket.SHUT_WR)
    assert pair.server.recv(1) == b""
    abort(pair.server)
    with pytest.raises(ConnectionResetError):
        pair.client.recv(1)


def client_leaves_data_unread(pair: Pair) -> None:
    pair.server.sendall(bytes(23))
    until(lambda: unread(pair.client) == 23, "the data are there")
    pair.client.close()
    with pytest.raises(ConnectionResetError):
        pair.server.recv(1)


def server_leaves_data_unread_after_the_clients_end(pair: Pair) -> None:
    pair.client.sendall(bytes(23))
    pair.client.shutdown(socket.SHUT_WR)
    pair.wait_until("server", "close_wait")
    pair.server.close()
    with pytest.raises(ConnectionResetError):
        pair.client.recv(1)


def data_come_after_the_clients_close(pair: Pair) -> None:
    pair.server.sendall(bytes(23))
    assert unread(pair.client) == 0  # it is still on its way
    pair.client.close()
    until(lambda: pair.server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.EPIPE, "the server's end")


def way_is_cut(pair: Pair, how: str, number: int) -> None:
    pair.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 300)
    pair.cut(how)
    pair.client.sendall(bytes(23))
    with pytest.raises(OSError, match=f"Errno {number}"):
        pair.client.recv(1)
    abort(pair.server)


def way_goes_silent(pair: Pair) -> None:
    way_is_cut(pair, "drop", errno.ETIMEDOUT)


def host_goes_away(pair: Pair) -> None:
    way_is_cut(pair, "reject with icmp host-unreachable", errno.EHOSTUNREACH)


@dataclass(frozen=True)
class Close:
    """How a connection ends, and what each side must say of it; a reset's reason as the kernel names it."""

    end: Callable[[Pair], None]
    client: str
    server: str
    first: str | None = None
    number: int | None = None
    why: str | None = None
    left: str = ""
    delay: float = 0
    family: int = 4


CLOSES = {
    "client first": Close(client_closes_first, "normal", "normal", "client"),
    "client first, IPv6, delayed": Close(client_closes_first, "normal", "normal", "client", delay=DELAY, family=6),
    "server first": Close(server_closes_first, "normal", "normal", "server"),
    "half": Close(client_closes_half, "normal", "normal", "client"),
    "half, IPv6, delayed": Close(client_closes_half, "normal", "normal", "client", delay=DELAY, family=6),
    "both at once": Close(both_close_at_once, "normal", "normal", "both", left="closing", delay=DELAY),
    "client aborts": Close(client_aborts, "reset_sent", "reset_received", why="tcp_state"),
    "client aborts, IPv6, delayed": Close(
        client_aborts, "reset_sent", "reset_received", why="tcp_state", family=6, delay=DELAY
    ),
    "server aborts": Close(server_aborts, "reset_received", "reset_sent", why="tcp_state"),
    "server aborts in CLOSE_WAIT": Close(
        server_aborts_after_the_clients_end, "reset_received", "reset_sent", "client", why="tcp_state"
    ),
    "client leaves data unread": Close(client_leaves_data_unread, "reset_sent", "reset_received", why="tcp_abort_on_close"),
    "server leaves data unread in CLOSE_WAIT": Close(
        server_leaves_data_unread_after_the_clients_end, "reset_received", "reset_sent", "client", why="tcp_abort_on_close"
    ),
    "data after close": Close(
        *(data_come_after_the_clients_close, "reset_sent", "reset_received", "client"), why="tcp_abort_on_data", delay=DELAY
    ),
    "silence": Close(way_goes_silent, "timed_out", "reset_sent", number=errno.ETIMEDOUT),
    "host unreachable": Close(host_goes_away, "other", "reset_sent", number=errno.EHOSTUNREACH),
}


@pytest.mark.parametrize("close", [pytest.param(close, id=name) for name, close in CLOSES.items()])
def test_a_connections_end_has_its_reason_on_both_sides(watch: Watching, service: int, close: Close) -> None:
    with route(close.delay) as way, listening(way.server, SERVER[close.family], service) as listener:
        client = connect(way.client, SERVER[close.family], service)
        with client, listener.accept()[0] as server:
            client_port = client.getsockname()[1]
            close.end(Pair(client, server, way, service))
        ends = {role: watch.one(client_port, "close", role) for role in ROLES}
        kernel = {role: way.ends[role].counters() for role in ROLES}
    for role, end in ends.items():
        print(role, {name: end[name] for name in ("reason", "errno", "reset_reason", "closed_first", "from", "states")})
    assert [ends[role]["reason"] for role in ROLES] == [close.client, close.server]
    for role, end in ends.items():
        check_first(end, role, close.first)
        check_resets(watch.of(client_port, "reset", role), end, close)
        told = len(watch.of(client_port, "reset", role, direction="sent"))
        assert told == told_of(kernel[role]["OutRsts"])
        assert sum(end["states"].values()) == pytest.approx(end["duration_seconds"], abs=0.001)
        assert kernel[role]["EstabResets"] == (end["from"] in {"established", "close_wait"})
    assert close.number is None or ends["client"]["errno"] == close.number
    assert not close.left or {end["from"] for end in ends.values()} == {close.left}


def told_of(resets: int) -> int:
    """Return how many resets are told: of those behind the first, when the socket is gone, only newer kernels tell."""
    return resets if shown("stray_resets", "told") else min(resets, 1)


def check_first(end: Event, role: str, first: str | None) -> None:
    if first in ROLES:
        first = "local" if first == role else "remote"
    assert end["closed_first"] == first


def check_resets(resets: list[Event], end: Event, close: Close) -> None:
    """A reset that was sent or received is an event of its own, and says the same as the end."""
    way = {"reset_sent": ["sent"], "reset_received": ["received"]}.get(end["reason"], [])
    assert {reset["direction"] for reset in resets} == set(way)
    if end["reason"] == "reset_sent" and close.why:
        assert end["reset_reason"] == resets[0]["reset_reason"] == shown("reset_reason", close.why)
        assert {reset["reset_reason"] for reset in resets[1:]} <= {"no_socket"}  # what else was on its way


def test_a_socket_that_is_destroyed_from_outside_has_sent_a_reset(watch: Watching, service: int) -> None:
    with (
        route() as way,
        listening(way.server, SERVER[4], service) as listener,
        connect(way.client, SERVER[4], service) as client,
        listener.accept()[0],
    ):
        client_port = client.getsockname()[1]
        way.client.run(tool("ss"), "-K", "dst", SERVER[4], "dport", "=", str(service))
        if states(way.client)["established"]:
            skip_for_lack_of("the destruction of sockets (CONFIG_INET_DIAG_DESTROY)")
        ends = [watch.one(client_port, "close", role) for role in ROLES]
    assert [(end["reason"], end["errno"]) for end in ends] == [
        ("reset_sent", errno.ECONNABORTED),
        ("reset_received", errno.ECONNRESET),
    ]
