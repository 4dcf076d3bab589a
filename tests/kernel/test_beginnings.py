"""How a connection can begin, or fail to, beside the textbook handshake: each edge against what the kernel did."""

from __future__ import annotations

import errno
import select
import socket
import time

import pytest

from tests.kernel.beginnings import BOTH_SIDES_WITHOUT_COOKIE, fresh, pending_error, restore, resume, save, waiting
from tests.kernel.ends import abort, disconnect
from tests.kernel.net import Namespace
from tests.kernel.traffic import connect, converse, listening
from tests.kernel.until import PATIENCE, until
from tests.kernel.watching import Event, Watching
from tests.kernel.wire import HERE, THERE, Segment, wire
from tests.needs import tool

pytestmark = pytest.mark.needs("nft")

LOOPBACK = {4: "127.0.0.1", 6: "::1"}
FAR = {4: "10.96.0.10", 6: "fd96::10"}
SYN, RST, ACK = 2, 4, 16
PAUSE = 0.4


def failure(watch: Watching, port: int) -> Event:
    return watch.one(port, "failure", "client")


def bound(side: Namespace, address: str) -> socket.socket:
    client = fresh(side, address)
    client.bind((address, 0))
    return client


@pytest.mark.parametrize("family", [4, 6])
def test_the_handshake_of_a_connect_that_waits_for_send_begins_with_its_syn(
    watch: Watching, service: int, side: Namespace, family: int
) -> None:
    side.set("net.ipv4.tcp_fastopen", BOTH_SIDES_WITHOUT_COOKIE)
    with listening(side, LOOPBACK[family], service) as listener:
        client = waiting(side, LOOPBACK[family], service)
        assert side.counters()["ActiveOpens"] == 0
        time.sleep(PAUSE)  # the application's own: what must not be counted
        start = time.monotonic()
        client.send(b"hello")
        server = listener.accept()[0]
        elapsed, port = time.monotonic() - start, client.getsockname()[1]
        assert server.recv(5) == b"hello"
        client.close()
        assert server.recv(1) == b""
        server.close()
    event = watch.one(port, "handshake", "client")
    assert side.counters()["TCPFastOpenActive"] == 1
    assert event["fast_open"]
    assert 0 < event["handshake_seconds"] <= elapsed
    assert watch.one(port, "close", "client")["states"]["syn_sent"] > PAUSE
    assert not watch.of(port, "failure")


def test_a_syn_that_waited_and_was_retransmitted_is_timed_from_its_first_sending(
    watch: Watching, service: int, side: Namespace
) -> None:
    side.set("net.ipv4.tcp_fastopen", BOTH_SIDES_WITHOUT_COOKIE)
    side.drop(f"tcp dport {service} tcp flags & (syn | ack) == syn")
    with listening(side, LOOPBACK[4], service) as listener:
        client = waiting(side, LOOPBACK[4], service)
        time.sleep(PAUSE)
        start = time.monotonic()
        client.send(b"hello")
        server = listener.accept()[0]
        elapsed, port = time.monotonic() - start, client.getsockname()[1]
        client.close()
        server.close()
    handshake = watch.one(port, "handshake", "client")["handshake_seconds"]
    assert len(watch.of(port, "retransmit", "client", retransmit_kind="syn")) == 1
    assert 0.9 < handshake < elapsed + 0.002  # the kernel keeps the time of the first SYN in milliseconds


def test_a_connect_that_is_given_up_before_its_first_send_is_canceled(watch: Watching, service: int, side: Namespace) -> None:
    side.set("net.ipv4.tcp_fastopen", BOTH_SIDES_WITHOUT_COOKIE)
    with listening(side, LOOPBACK[4], service):
        client = waiting(side, LOOPBACK[4], service)
        port = client.getsockname()[1]
        client.close()
    event = failure(watch, port)
    assert (event["reason"], event["errno"], event["sent_segments"]) == ("canceled", None, 0)
    assert side.counters()["ActiveOpens"] == 0


def test_data_in_the_syn_of_sendto_are_a_handshake_like_any_other(watch: Watching, service: int, side: Namespace) -> None:
    side.set("net.ipv4.tcp_fastopen", BOTH_SIDES_WITHOUT_COOKIE)
    with listening(side, LOOPBACK[4], service) as listener:
        client = fresh(side, LOOPBACK[4])
        client.sendto(b"hello", socket.MSG_FASTOPEN, (LOOPBACK[4], service))
        server, port = listener.accept()[0], client.getsockname()[1]
        client.close()
        server.close()
    assert watch.one(port, "handshake", "client")["fast_open"]
    assert side.counters()["ActiveOpens"] == side.counters()["TCPFastOpenActive"] == 1


def test_a_route_that_fails_for_the_port_that_was_found_is_not_for_want_of_one(
    watch: Watching, service: int, side: Namespace
) -> None:
    commands = ("address add 10.0.0.1/32 dev lo", "route add 10.96.0.0/16 dev lo")
    for command in (*commands, "rule add ipproto tcp sport 32768-60999 unreachable"):
        side.run(tool("ip"), *command.split())
    with fresh(side, FAR[4]) as client:
        assert client.connect_ex((FAR[4], service)) in {errno.ENETUNREACH, errno.EHOSTUNREACH}
    events = until(lambda: [e for e in watch.events if e["remote_address"] == FAR[4] and e["local_port"]], "it is printed")
    assert [(e["kind"], e["reason"], e["errno"]) for e in events] == [("failure", "other", None)]
    assert 32768 <= events[0]["local_port"] <= 60999
    assert side.counters()["ActiveOpens"] == 0


@pytest.mark.parametrize("again", [False, True], ids=["fresh", "used-before"])
def test_no_port_is_told_of_a_bound_socket_and_of_one_that_was_used_before(
    watch: Watching, service: int, side: Namespace, again: bool
) -> None:
    known = len(watch.of(None, "failure", "client", remote_port=service + 1))
    side.set("net.ipv4.ip_local_port_range", "40001 40001")
    with listening(side, LOOPBACK[4], service) as first, listening(side, LOOPBACK[4], service + 1) as second:
        late = fresh(side, LOOPBACK[4])
        if again:
            late.connect((LOOPBACK[4], service))
            first.accept()[0].close()
            disconnect(late)
        with connect(side, LOOPBACK[4], service + 1), second.accept()[0]:
            assert late.connect_ex((LOOPBACK[4], service + 1)) == errno.EADDRNOTAVAIL
    late.close()
    found = until(
        lambda: [e for e in watch.events if e["kind"] == "failure" and e["remote_port"] == service + 1][known:],
        "the failure is printed",
    )
    assert [event["reason"] for event in found] == ["no_port"]


REJECTS = {
    "refused": (4, "reject", errno.ECONNREFUSED),
    "host_unreachable": (4, "reject with icmp type host-unreachable", errno.EHOSTUNREACH),
    "net_unreachable": (4, "reject with icmp type net-unreachable", errno.ENETUNREACH),
    "refused-6": (6, "reject with icmpv6 type port-unreachable", errno.ECONNREFUSED),
    "other-6": (6, "reject with icmpv6 type admin-prohibited", errno.EACCES),
}


def reject(side: Namespace, service: int, how: str) -> None:
    """Have this machine's own firewall reject what goes to a service."""
    side.run(tool("ip"), "link", "add", "out", "type", "veth", "peer", "name", "far")
    for name in ("far", "out"):
        side.run(tool("ip"), "link", "set", name, "up")
    side.run(tool("ip"), "address", "add", "10.96.0.1/16", "dev", "out")
    side.run(tool("ip"), "address", "add", "fd96::1/64", "dev", "out", "nodad")
    chain = f"chain out {{ type filter hook output priority 0; tcp dport {service} {how}; }}"
    side.run(tool("nft"), "-f", "-", text=f"table inet fence {{ {chain}; }}")


@pytest.mark.parametrize("asks", [True, False], ids=["asks", "does-not-ask"])
@pytest.mark.parametrize("name", REJECTS)
def test_an_icmp_error_that_only_the_application_was_told_of_is_the_reason(
    watch: Watching, service: int, side: Namespace, name: str, asks: bool
) -> None:
    family, how, number = REJECTS[name]
    reject(side, service, how)
    with bound_to(side, family) as client:
        client.setblocking(False)
        assert client.connect_ex((FAR[family], service)) == errno.EINPROGRESS
        assert select.select([], [client], [], PATIENCE)[1]
        if asks:
            assert pending_error(client) == number
        port = client.getsockname()[1]
    event = failure(watch, port)
    assert (event["reason"], event["errno"]) == (name.removesuffix("-6"), number)


def bound_to(side: Namespace, family: int) -> socket.socket:
    return bound(side, {4: "10.96.0.1", 6: "fd96::1"}[family])


def test_an_icmp_error_before_the_answer_does_not_fail_a_connection(watch: Watching, service: int, side: Namespace) -> None:
    side.run(tool("ip"), "address", "add", "10.96.0.1/32", "dev", "lo")
    rule = f"tcp dport {service} tcp flags & (syn | ack) == syn numgen inc mod 1000 0 reject with icmp type host-unreachable"
    side.run(tool("nft"), "-f", "-", text=f"table inet x {{ chain o {{ type filter hook output priority 0; {rule}; }}; }}")
    with listening(side, "10.96.0.1", service) as listener:
        client = bound_to(side, 4)
        client.setblocking(False)
        assert client.connect_ex(("10.96.0.1", service)) == errno.EINPROGRESS
        server, port = listener.accept()[0], client.getsockname()[1]
        client.settimeout(PATIENCE)
        converse(client, server)
    assert watch.one(port, "close", "client")["reason"] == "normal"
    assert watch.one(port, "handshake", "client")
    assert not watch.of(port, "failure")


def test_an_old_icmp_error_is_not_the_reason_of_the_sockets_next_attempt(
    watch: Watching, service: int, side: Namespace
) -> None:
    reject(side, service, "reject")
    side.drop(f"tcp dport {service + 1}", count=1000)
    with bound_to(side, 4) as client:
        client.setblocking(False)
        assert client.connect_ex((FAR[4], service)) == errno.EINPROGRESS
        disconnect(client)
        assert client.connect_ex(("10.96.0.1", service + 1)) == errno.EINPROGRESS
        port = client.getsockname()[1]
    assert failure(watch, port)["reason"] == "canceled"


@pytest.mark.parametrize("how", ["close", "linger 0", "disconnect"])
def test_giving_up_is_canceled_however_it_is_done(watch: Watching, service: int, side: Namespace, how: str) -> None:
    side.drop(f"tcp dport {service}", count=1000)
    client = bound(side, LOOPBACK[4])
    client.setblocking(False)
    assert client.connect_ex((LOOPBACK[4], service)) == errno.EINPROGRESS
    port = client.getsockname()[1]
    {"close": socket.socket.close, "linger 0": abort, "disconnect": disconnect}[how](client)
    client.close()
    event = failure(watch, port)
    assert (event["reason"], event["errno"], event["sent_segments"]) == ("canceled", None, 1)
    assert not watch.of(port, "reset")


def test_a_socket_that_is_killed_in_syn_sent_is_other(watch: Watching, service: int, side: Namespace) -> None:
    side.drop(f"tcp dport {service}", count=1000)
    with bound(side, LOOPBACK[4]) as client:
        client.setblocking(False)
        assert client.connect_ex((LOOPBACK[4], service)) == errno.EINPROGRESS
        side.run("ss", "-K", "dport", "=", str(service))
        event = failure(watch, client.getsockname()[1])
    assert (event["reason"], event["errno"]) == ("other", errno.ECONNABORTED)


def test_a_restored_connection_is_open_without_a_handshake(watch: Watching, service: int, side: Namespace) -> None:
    with listening(side, LOOPBACK[4], service) as listener:
        client = connect(side, LOOPBACK[4], service)
        server, port = listener.accept()[0], client.getsockname()[1]
        before = side.counters()["ActiveOpens"]
        saved = save(client), save(server)
        assert [watch.one(port, "close", role)["reason"] for role in ("client", "server")] == ["other", "other"]
        client, server = (restore(side, one) for one in saved)
        for end in (client, server):
            resume(end)
        assert side.counters()["ActiveOpens"] == before
        client.sendall(b"ping")
        assert server.recv(4) == b"ping"
        server.sendall(b"pong!")
        assert client.recv(5) == b"pong!"
        client.close()
        assert server.recv(1) == b""
        server.close()
    for role, sent, received in (("client", 4, 5), ("server", 5, 4)):
        event = watch.one(port, "close", role, partial=True)
        assert (event["reason"], event["sent_bytes"], event["received_bytes"]) == ("normal", sent, received)
        assert event["duration_seconds"] is None
        assert len(watch.of(port, "handshake", role)) == 1
    assert not watch.of(port, "state")


def test_a_reset_before_the_answer_does_not_color_the_end(watch: Watching, service: int, side: Namespace) -> None:
    with wire(side) as peer:
        client = bound(side, HERE)
        client.setblocking(False)
        client.connect_ex((THERE, service))
        syn = peer.read()
        stale = (syn.sequence + 1000) % 2**32
        peer.write(Segment(service, syn.sport, 7000, stale, ACK))  # of an earlier connection: RFC 9293, 3.10.7.3
        assert peer.read().flags == RST
        peer.write(Segment(service, syn.sport, 9000, syn.sequence + 1, SYN | ACK))
        assert peer.read().flags == ACK
        client.close()
        fin = peer.read()
        peer.write(Segment(service, syn.sport, 9001, fin.sequence + 1, ACK | 1))
        event = watch.one(syn.sport, "close", "client")
    assert (event["reason"], event["errno"]) == ("normal", None)
    assert watch.one(syn.sport, "reset", "client")["direction"] == "sent"
