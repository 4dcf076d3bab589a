"""Sockets in SYN_RECV, which a few only ever see: Fast Open's children, and those that open as their peer does."""

from __future__ import annotations

import errno
import itertools
import socket
from collections.abc import Callable

import pytest

from tests.kernel.beginnings import BOTH_SIDES_WITHOUT_COOKIE, fresh, pending_error
from tests.kernel.capture import ACK, FIN, RST, SYN
from tests.kernel.net import Namespace
from tests.kernel.scene import ROLES, kinds
from tests.kernel.traffic import listening
from tests.kernel.until import until
from tests.kernel.watching import Watching
from tests.kernel.wire import HERE, THERE, Segment, Wire, wire

pytestmark = pytest.mark.kernel

LOOPBACK = "127.0.0.1"
PEERS = 1000
"""The initial sequence number of the peer that is played."""

_ports = itertools.count(25_001)


def test_a_fast_open_child_that_is_reset_before_the_last_ack_has_failed(watch: Watching, service: int, side: Namespace) -> None:
    side.set("net.ipv4.tcp_fastopen", BOTH_SIDES_WITHOUT_COOKIE)
    port = next(_ports)
    with wire(side) as peer, listening(side, HERE, service) as listener:
        peer.write(Segment(port, service, PEERS, 0, SYN, b"hello!"))
        answer = peer.read()
        assert (answer.flags, answer.acknowledgment) == (SYN | ACK, PEERS + 7)
        with listener.accept()[0] as server:
            assert server.recv(6) == b"hello!"
            peer.write(Segment(port, service, PEERS + 7, 0, RST))
            event = watch.one(port, "failure", "server")
            assert pending_error(server) == errno.ECONNRESET
        kernel = side.counters()
    assert (event["from"], event["reason"], event["errno"]) == ("syn_recv", "reset", errno.ECONNRESET)
    assert watch.one(port, "reset", "server")["direction"] == "received"
    assert not watch.of(port, "handshake") + watch.of(port, "close")
    assert (kernel["TCPFastOpenPassive"], kernel["PassiveOpens"], kernel["OutRsts"]) == (1, 1, 0)
    assert kernel["AttemptFails"] == 2  # tcp_check_req() counts the request, tcp_done() its socket


def send_at_once(side: Namespace, listener: socket.socket, port: int) -> int:
    """Make a connection whose first bytes may go with its SYN; return its client's port."""
    with fresh(side, LOOPBACK) as client:
        client.settimeout(None)
        client.sendto(b"hello", socket.MSG_FASTOPEN, (LOOPBACK, port))
        with listener.accept()[0] as server:
            assert server.recv(5, socket.MSG_WAITALL) == b"hello"
            client_port = int(client.getsockname()[1])
            client.close()
            assert server.recv(1) == b""
    return client_port


def test_a_connection_is_a_fast_open_if_its_cookie_was_known_and_right(watch: Watching, service: int, side: Namespace) -> None:
    side.set("net.ipv4.tcp_fastopen", "3")
    with listening(side, LOOPBACK, service) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 5)
        ports = [send_at_once(side, listener, service) for _ in range(2)]  # the first one asks for a cookie
        side.set("net.ipv4.tcp_fastopen_key", "-".join(["0badcafe"] * 4))
        ports.append(send_at_once(side, listener, service))  # which the server knows no more
    ends = {role: [watch.one(port, "close", role) for port in ports] for role in ROLES}
    opened = {role: [watch.one(port, "handshake", role)["fast_open"] for port in ports] for role in ROLES}
    kernel = side.counters()
    assert opened == {role: [False, True, False] for role in ROLES}
    assert (kernel["TCPFastOpenActive"], kernel["TCPFastOpenPassive"], kernel["TCPFastOpenPassiveFail"]) == (1, 1, 1)
    assert [end["sent_bytes"] for end in ends["client"]] == [end["received_bytes"] for end in ends["server"]] == [5, 5, 5]
    assert [end["reason"] for role in ROLES for end in ends[role]] == ["normal"] * 6
    assert sum(kinds(watch.of(port, "retransmit", "client")).total() for port in ports) == kernel["RetransSegs"]


def shut_down(client: socket.socket) -> None:
    client.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("end", [socket.socket.close, shut_down])
def test_one_that_closes_before_both_sides_have_opened_has_had_its_handshake(
    watch: Watching, service: int, side: Namespace, end: Callable[[socket.socket], None]
) -> None:
    with wire(side) as peer, fresh(side, HERE) as client:
        syn = open_both(peer, client, service)
        end(client)
        ours = syn.sequence + 1
        peer.write(Segment(service, syn.sport, PEERS + 1, ours, ACK))
        peer.hear(FIN)
        peer.write(Segment(service, syn.sport, PEERS + 1, ours + 1, FIN | ACK))
        event = watch.one(syn.sport, "close", "client")
    assert (event["reason"], event["errno"], event["closed_first"]) == ("normal", None, "local")
    assert (event["initial_sequence"], event["peer_initial_sequence"]) == (syn.sequence, PEERS)
    assert watch.one(syn.sport, "handshake", "client")
    assert not watch.of(syn.sport, "failure")
    assert side.counters()["AttemptFails"] == 0


def test_one_that_closes_before_both_sides_have_opened_and_is_reset_has_failed(
    watch: Watching, service: int, side: Namespace
) -> None:
    with wire(side) as peer, fresh(side, HERE) as client:
        syn = open_both(peer, client, service)
        client.close()
        peer.write(Segment(service, syn.sport, PEERS + 1, 0, RST))
        event = watch.one(syn.sport, "failure", "client")
    assert (event["from"], event["reason"], event["errno"]) == ("fin_wait1", "reset", errno.ECONNRESET)
    assert not watch.of(syn.sport, "handshake") + watch.of(syn.sport, "close")


def open_both(peer: Wire, client: socket.socket, port: int) -> Segment:
    """Have both sides send a SYN; return the client's."""
    client.setblocking(False)
    client.connect_ex((THERE, port))
    syn = peer.read()
    peer.write(Segment(port, syn.sport, PEERS, 0, SYN))
    peer.hear(SYN | ACK)
    return syn


def test_a_listener_that_closes_ends_its_fast_open_children(watch: Watching, service: int, side: Namespace) -> None:
    side.set("net.ipv4.tcp_fastopen", BOTH_SIDES_WITHOUT_COOKIE)
    port = next(_ports)
    with wire(side) as peer, listening(side, HERE, service) as listener:
        peer.write(Segment(port, service, PEERS, 0, SYN, b"hello!"))
        peer.hear(SYN | ACK)
        listener.close()
        event = watch.one(port, "failure", "server")
        until(lambda: side.counters()["OutRsts"] == 1, "the kernel has sent a reset")
    assert (event["from"], event["errno"]) == ("syn_recv", None)
    assert not watch.of(port, "handshake") + watch.of(port, "close")
