"""Payload, segments and retransmissions of sockets with options and companions out of the ordinary, exact to the last one."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kernel import net
from tests.kernel.capture import ACK, FIN, RST, SYN
from tests.kernel.net import LIBC, Link, Namespace
from tests.kernel.path import DELAY, SERVER, route
from tests.kernel.scene import ROLES, exchange, kinds, receive, scene, send_segments, states
from tests.kernel.traffic import connect, listening
from tests.kernel.until import PATIENCE, until
from tests.kernel.watching import Event, Watching
from tests.kernel.wire import HERE, THERE, Segment, wire
from tests.needs import needs_mptcp, tool

pytestmark = pytest.mark.needs("nft", "tcpdump", "tshark")

SIZE = 100_000
SO_ZEROCOPY, MSG_ZEROCOPY = 60, 0x4000000
BPF_SYSCALL = {"x86_64": 321, "aarch64": 280}
BPF_MAP_CREATE, BPF_MAP_UPDATE_ELEM, BPF_MAP_TYPE_SOCKMAP = 0, 2, 15


@contextmanager
def pair(link: Link, port: int, *, protocol: int = 0) -> Iterator[tuple[socket.socket, socket.socket, int]]:
    """Yield an established connection, client and server, and the client's port."""
    with listening(link.server, net.SERVER[4], port, protocol=protocol) as listener:
        client = connect(link.client, net.SERVER[4], port, protocol=protocol)
        with client, listener.accept()[0] as server:
            server.settimeout(PATIENCE)
            yield client, server, int(client.getsockname()[1])


def close(client: socket.socket, server: socket.socket) -> None:
    client.close()
    assert server.recv(1) == b""
    server.close()


def ends(watch: Watching, client_port: int) -> tuple[Event, Event]:
    """Return how client and server have ended, both in order."""
    client, server = (watch.one(client_port, "close", role) for role in ROLES)
    assert (client["reason"], server["reason"]) == ("normal", "normal")
    return client, server


def check_bytes(watch: Watching, client_port: int, up: int, down: int) -> None:
    client, server = ends(watch, client_port)
    assert (client["sent_bytes"], client["received_bytes"]) == (up, down)
    assert (server["sent_bytes"], server["received_bytes"]) == (down, up)
    assert client["unacknowledged_bytes"] == server["unacknowledged_bytes"] == 0


def linger(client: socket.socket, server: socket.socket) -> int:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 30))
    exchange(client, server, SIZE)
    return SIZE


def copy_nothing(client: socket.socket, server: socket.socket) -> int:
    client.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
    sent = client.send(bytes(SIZE), MSG_ZEROCOPY)
    receive(server, sent)
    return sent


def be_urgent(client: socket.socket, server: socket.socket) -> int:
    server.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    client.send(b"abc")
    client.send(b"!", socket.MSG_OOB)
    client.send(b"de")
    receive(server, 6)
    return 6


@contextmanager
def without_limit() -> Iterator[None]:
    """Lift the limit of locked memory: before Linux 5.11 tables count against it, a running tracer's among them."""
    before = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    with contextlib.suppress(ValueError):  # not even root may, where it lacks CAP_SYS_RESOURCE
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, before)


def bpf(command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes)
    with without_limit():
        result = int(LIBC.syscall(BPF_SYSCALL[platform.machine()], command, buffer, len(attributes)))
    assert result >= 0, os.strerror(ctypes.get_errno())
    return result


def join_a_sockmap(client: socket.socket, server: socket.socket) -> int:
    table = bpf(BPF_MAP_CREATE, struct.pack("5I", BPF_MAP_TYPE_SOCKMAP, 4, 4, 2, 0))
    try:
        for key, end in enumerate((client, server)):
            words = ctypes.c_uint32(key), ctypes.c_uint32(end.fileno())
            addresses = [ctypes.addressof(word) for word in words]
            bpf(BPF_MAP_UPDATE_ELEM, struct.pack("IxxxxQQQ", table, *addresses, 0))
        exchange(client, server, SIZE)
    finally:
        os.close(table)
    return SIZE


@pytest.mark.parametrize("send", [linger, copy_nothing, be_urgent, join_a_sockmap])
def test_payload_is_what_was_sent_whatever_the_socket(
    watch: Watching, service: int, link: Link, send: Callable[[socket.socket, socket.socket], int]
) -> None:
    with pair(link, service) as (client, server, client_port):
        sent = send(client, server)
        exchange(server, client, 23)
        close(client, server)
    assert sent
    check_bytes(watch, client_port, sent, 23)


def test_a_subflow_of_mptcp_has_the_payload_of_its_connection(watch: Watching, service: int, link: Link) -> None:
    needs_mptcp()
    with pair(link, service, protocol=socket.IPPROTO_MPTCP) as (client, server, client_port):
        exchange(client, server, SIZE)
        exchange(server, client, 23)
        close(client, server)
    assert link.server.counters()["MPCapableSYNRX"] == 1
    check_bytes(watch, client_port, SIZE, 23)
    for role in ROLES:
        assert watch.one(client_port, "handshake", role)["handshake_seconds"] is not None


def test_both_ends_that_close_at_once_have_all_their_payload(watch: Watching, service: int) -> None:
    with route(DELAY) as way, listening(way.server, SERVER[4], service) as listener:
        client = connect(way.client, SERVER[4], service)
        with client, listener.accept()[0] as server:
            client_port = client.getsockname()[1]
            exchange(client, server, 500)
            exchange(server, client, 700)
            client.close()
            server.close()
        assert {end["from"] for end in ends(watch, client_port)} == {"closing"}
    check_bytes(watch, client_port, 500, 700)


def test_segments_are_those_on_the_wire_but_for_a_servers_syn_ack(watch: Watching, service: int, tmp_path: Path) -> None:
    with scene(watch, service, tmp_path) as here:
        with listening(here.route.server, SERVER[4], service) as listener:
            client = connect(here.route.client, SERVER[4], service)
            with client, listener.accept()[0] as server:
                client_port = client.getsockname()[1]
                send_segments(client, server)
                send_segments(server, client)
                client.shutdown(socket.SHUT_WR)
                assert server.recv(1) == b""
                here.wait_until("client", lambda states: states["fin_wait2"] == 1, "waits for the server's end")
                server.close()
                assert client.recv(1) == b""
        here.wait_until_over()
        frames = here.frames(client_port)
    client_end, server_end = ends(watch, client_port)
    ours, theirs = ([f for f in frames[role] if f.sport == client_port] for role in ROLES)
    from_server, at_server = ([f for f in frames[role] if f.dport == client_port] for role in ROLES)
    assert client_end["sent_segments"] == len(ours)
    assert client_end["received_segments"] == len(from_server)
    assert server_end["received_segments"] == len(theirs)
    assert server_end["sent_segments"] == len([f for f in at_server if not f.has(SYN)])


def test_keep_alive_probes_are_no_retransmissions(watch: Watching, service: int, link: Link) -> None:
    with pair(link, service) as (client, server, client_port):
        exchange(client, server, 23)
        for name in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL):
            client.setsockopt(socket.IPPROTO_TCP, name, 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        until(lambda: link.client.counters()["TCPKeepAlive"] >= 2, "two probes have gone")
        close(client, server)
    check_bytes(watch, client_port, 23, 0)
    check_retransmissions(watch, client_port, link.client)


def test_zero_window_probes_are_no_retransmissions(watch: Watching, service: int, link: Link) -> None:
    with pair(link, service) as (client, server, client_port):
        client.setblocking(False)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                sent += client.send(bytes(SIZE))
        until(lambda: link.client.counters()["TCPWinProbe"] >= 2, "two probes have gone")
        receive(server, sent)
        close(client, server)
    check_bytes(watch, client_port, sent, 0)
    check_retransmissions(watch, client_port, link.client)


def check_retransmissions(watch: Watching, client_port: int, side: Namespace) -> None:
    """A probe is none for the kernel, and for nobody else."""
    (end,) = watch.of(client_port, "close", "client")
    total = kinds(watch.of(client_port, "retransmit", "client")).total()
    assert total == end["retransmitted_segments"] == side.counters()["RetransSegs"]


def test_a_socket_that_two_processes_share_ends_with_the_second(watch: Watching, service: int, link: Link) -> None:
    with pair(link, service) as (client, server, client_port):
        command = [tool("cat")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[client.fileno()]) as other:
            client.close()
            with pair(link, service + 1) as (later, peer, later_port):
                close(later, peer)
            ends(watch, later_port)
            assert states(link.client)["established"] == 1
            assert watch.of(client_port, "close") == []
            assert other.stdin
            other.stdin.close()
        assert server.recv(1) == b""
        server.close()
    check_bytes(watch, client_port, 0, 0)


def test_challenge_acks_are_no_resets_and_no_ends(watch: Watching, service: int, side: Namespace) -> None:
    side.set("net.ipv4.tcp_invalid_ratelimit", "0")
    with wire(side) as far, side.inside(), socket.socket() as client:
        client.setblocking(False)
        client.connect_ex((THERE, service))
        syn = far.read()
        ours, port = syn.sequence + 1, syn.sport
        far.write(Segment(service, port, 1000, ours, SYN | ACK))
        assert far.read().acknowledgment == 1001
        for flags, sequence in ((RST, 1101), (SYN, 1001), (SYN | ACK, 1001)):
            far.write(Segment(service, port, sequence, ours, flags))
            answer = far.read()
            assert (answer.flags, answer.sequence, answer.acknowledgment) == (ACK, ours, 1001)
        assert side.counters()["TCPChallengeACK"] == 3
        assert client.getsockname() == (HERE, port)
        far.write(Segment(service, port, 1001, ours, FIN | ACK))
        assert far.read().acknowledgment == 1002
        client.close()
        assert far.read().flags & FIN
        far.write(Segment(service, port, 1002, ours + 1, ACK))
        end = watch.one(port, "close", "client")
    assert (end["reason"], end["closed_first"], end["from"]) == ("normal", "remote", "last_ack")
    assert watch.of(port, "reset") == []
    assert (end["initial_sequence"], end["peer_initial_sequence"]) == (syn.sequence, 1000)
