"""Sockets and ports with a past: each connection has its own numbers, which begin at nothing."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from pathlib import Path

import pytest

from tests.kernel import net
from tests.kernel.capture import ACK, SYN, Frame
from tests.kernel.net import LIBC, Link
from tests.kernel.path import CLIENT, DELAY, SERVER, route
from tests.kernel.scene import ROLES, Scene, exchange, scene
from tests.kernel.traffic import listening
from tests.kernel.until import PATIENCE, until
from tests.kernel.watching import Event, Watching

pytestmark = pytest.mark.needs("nft", "tcpdump", "tshark")

FIRST, SECOND = 1_234_567, 89


def disconnect(client: socket.socket) -> None:
    """End a connection, and have the socket ready for another."""
    nowhere = struct.pack("H14x", socket.AF_UNSPEC)
    assert LIBC.connect(client.fileno(), nowhere, len(nowhere)) == 0


@pytest.mark.parametrize("orderly", [True, False], ids=["after its end", "in the middle"])
def test_a_socket_that_connects_once_more_begins_at_nothing(watch: Watching, service: int, orderly: bool) -> None:
    with route(DELAY) as way, way.client.inside():
        client = socket.socket()
        client.settimeout(PATIENCE)
        with client, listening(way.client, "127.0.0.1", service + 1) as near, listening(way.server, SERVER[4], service) as far:
            client.connect(("127.0.0.1", service + 1))
            with near.accept()[0] as server:
                exchange(client, server, FIRST)
                exchange(server, client, FIRST)
                first_port = client.getsockname()[1]
                if orderly:
                    server.close()
                    assert client.recv(1) == b""
                disconnect(client)
                first = watch.one(first_port, "close", "client")
            client.connect((SERVER[4], service))
            second_port = client.getsockname()[1]
            with far.accept()[0] as server:
                exchange(client, server, SECOND)
                client.close()
                assert server.recv(1) == b""
            second = watch.one(second_port, "close", "client", remote_port=service)
    print(first, second)
    assert (first["sent_bytes"], first["received_bytes"]) == (FIRST, FIRST)
    assert (second["sent_bytes"], second["received_bytes"], second["unacknowledged_bytes"]) == (SECOND, 0, 0)
    assert second["retransmitted_segments"] == len(watch.of(second_port, "retransmit", "client", remote_port=service))
    assert 3 <= second["sent_segments"] < first["sent_segments"]
    assert second["srtt_seconds"] > 2 * DELAY * 0.9
    assert second["min_rtt_seconds"] is None  # the kernel's is the first connection's
    assert first["min_rtt_seconds"] < DELAY
    assert second["initial_sequence"] != first["initial_sequence"]


def test_connect_again_on_a_socket_that_was_refused(watch: Watching, service: int, link: Link) -> None:
    with link.client.inside():
        client = socket.socket()
    with client:
        client.bind((net.CLIENT[4], 0))
        client_port = client.getsockname()[1]
        with pytest.raises(ConnectionRefusedError):
            client.connect((net.SERVER[4], service))
        failure = watch.one(client_port, "failure", "client")
        with listening(link.server, net.SERVER[4], service) as listener:
            client.connect((net.SERVER[4], service))
            port = client.getsockname()[1]
            with listener.accept()[0] as server:
                exchange(client, server, SECOND)
                client.close()
                assert server.recv(1) == b""
    end, handshake = watch.one(port, "close", "client"), watch.one(port, "handshake", "client")
    assert failure["reason"] == "refused"
    assert (end["reason"], end["sent_bytes"], end["received_bytes"]) == ("normal", SECOND, 0)
    assert end["handshake_seconds"] == handshake["handshake_seconds"] < end["duration_seconds"]
    assert sum(end["states"].values()) == pytest.approx(end["duration_seconds"], abs=0.001)


def meet(here: Scene, listener: socket.socket, client_port: int, size: int, *, server_first: bool) -> int:
    """Have a connection from a port carry so many bytes up, and end; the port may be in TIME_WAIT for a second still."""

    def opened() -> socket.socket | None:
        with here.route.client.inside():
            fresh = socket.socket()
        fresh.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        fresh.bind((CLIENT[4], client_port))
        fresh.settimeout(PATIENCE)
        with suppress(OSError):
            fresh.connect((SERVER[4], here.port))
            return fresh
        fresh.close()
        return None

    client = until(opened, "the port is free")
    assert client
    with client, listener.accept()[0] as server:
        exchange(client, server, size)
        first, last = (server, client) if server_first else (client, server)
        port = int(client.getsockname()[1])
        first.close()
        assert last.recv(1) == b""
    return port


@pytest.mark.parametrize("server_first", [False, True], ids=["tcp_tw_reuse", "SYN to TIME_WAIT"])
def test_a_connection_in_the_place_of_a_time_wait_has_its_own_numbers(
    watch: Watching, service: int, tmp_path: Path, server_first: bool
) -> None:
    with scene(watch, service, tmp_path) as here:
        here.route.client.set("net.ipv4.tcp_tw_reuse", "1")
        with listening(here.route.server, SERVER[4], service) as listener:
            port = meet(here, listener, 0, FIRST, server_first=server_first)
            here.wait_until("server" if server_first else "client", lambda states: states["time_wait"] == 1, "waits")
            assert meet(here, listener, port, SECOND, server_first=server_first) == port
        here.wait_until_over()
        for role in ROLES:
            until(lambda role=role: len(watch.of(port, "close", role)) == 2, "both have ended")  # type: ignore[misc]
        frames = here.frames(port)
        assert here.kernel("client")["TWRecycled"] == (not server_first)
    for role in ROLES:
        numbers = [initial(frames[role], of) for of in (SYN, SYN | ACK)]
        for at, (end, size) in enumerate(zip(watch.of(port, "close", role), (FIRST, SECOND), strict=True)):
            check(end, role, size, [found[at] for found in numbers])


def initial(frames: list[Frame], flags: int) -> list[int]:
    """Return the numbers with which a side began, in their order."""
    return list(dict.fromkeys(f.sequence for f in frames if f.flags & (SYN | ACK) == flags))


def check(end: Event, role: str, size: int, numbers: list[int]) -> None:
    up, down = ("sent_bytes", "received_bytes") if role == "client" else ("received_bytes", "sent_bytes")
    own, peer = numbers if role == "client" else reversed(numbers)
    assert (end["reason"], end[up], end[down]) == ("normal", size, 0)
    assert (end["initial_sequence"], end["peer_initial_sequence"]) == (own, peer)
