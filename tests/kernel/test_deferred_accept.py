"""TCP_DEFER_ACCEPT: the kernel drops the handshake's last ACK and waits for data, so that a server's handshake has no time.

What the kernel measures then has the client's pause in it, and so has the smoothed round trip until the end; only a lower
minimum is the network's.
"""

from __future__ import annotations

import select
import socket

import pytest

from tests.kernel import net
from tests.kernel.net import Link, Namespace
from tests.kernel.traffic import connect, listening
from tests.kernel.until import PATIENCE, until
from tests.kernel.watching import Event, Watching
from tests.needs import needs_mptcp

PAUSE = 0.3
FAMILIES = pytest.mark.parametrize("family", [4, 6])
MEASURED = ("handshake_seconds", "srtt_seconds", "min_rtt_seconds")


def defer(listener: socket.socket, seconds: int) -> None:
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, seconds)


def dropped(side: Namespace) -> int:
    """Return how many ACKs the kernel has dropped, since no data came with them."""
    return side.counters()["TCPDeferAcceptDrop"]


def ask(client: socket.socket, *listeners: socket.socket) -> tuple[int, socket.socket]:
    """Send a byte, have it read by whoever accepts, and close; return the client's port and the listener."""
    client.sendall(b"?")
    chosen = select.select(listeners, [], [], PATIENCE)[0][0]
    with client, chosen.accept()[0] as server:
        assert server.recv(1) == b"?"
        port = int(client.getsockname()[1])
        client.close()
        assert server.recv(1) == b""
    return port, chosen


def numbers(event: Event) -> dict[str, float | None]:
    return {name: event[name] for name in MEASURED}


def check_unknown(watch: Watching, client_port: int) -> None:
    """What the server has measured is the client's pause, or may be; the client's own figures are the network's."""
    server, client = (watch.one(client_port, "handshake", role) for role in ("server", "client"))
    end = watch.one(client_port, "close", "server")
    print(numbers(server), numbers(end), numbers(client))
    assert numbers(server) == dict.fromkeys(MEASURED)
    assert end["handshake_seconds"] is end["srtt_seconds"] is None
    assert end["min_rtt_seconds"] is None or end["min_rtt_seconds"] < PAUSE
    assert None not in numbers(client).values()
    assert end["reason"] == "normal"
    assert (end["sent_bytes"], end["received_bytes"]) == (0, 1)


def check_known(watch: Watching, client_port: int) -> None:
    for kind in ("handshake", "close"):
        event = watch.one(client_port, kind, "server")
        assert None not in numbers(event).values(), event


@pytest.mark.parametrize("dual", [False, True], ids=["one family", "dual stack"])
@FAMILIES
def test_the_clients_pause_is_no_handshake_time(watch: Watching, service: int, link: Link, family: int, dual: bool) -> None:
    with listening(link.server, "::" if dual else net.SERVER[family], service) as listener:
        defer(listener, 30)
        client = connect(link.client, net.SERVER[family], service)
        until(lambda: dropped(link.server) == 1, "the ACK was dropped")
        assert not select.select([listener], [], [], PAUSE)[0]
        client_port, _ = ask(client, listener)
    check_unknown(watch, client_port)


def test_a_listener_of_mptcp_has_the_option_in_its_first_subflow(watch: Watching, service: int, link: Link) -> None:
    needs_mptcp()
    with listening(link.server, net.SERVER[4], service, protocol=socket.IPPROTO_MPTCP) as listener:
        for seconds, check in ((30, check_unknown), (0, check_known)):
            defer(listener, seconds)
            check(watch, ask(connect(link.client, net.SERVER[4], service), listener)[0])


def test_data_that_come_with_the_ack_cannot_be_told_from_later_ones(watch: Watching, service: int, link: Link) -> None:
    with listening(link.server, net.SERVER[4], service) as listener, link.client.inside():
        defer(listener, 30)
        with socket.socket() as client:
            defer(client, 30)  # on this side: the ACK waits for data to go with
            client.connect((net.SERVER[4], service))
            client_port, _ = ask(client, listener)
    check_unknown(watch, client_port)
    assert watch.of(client_port, "retransmit") == []


def test_the_option_counts_as_it_is_when_the_connection_is_made(watch: Watching, service: int, link: Link) -> None:
    with listening(link.server, net.SERVER[4], service) as listener:
        ports = []
        for seconds in (0, 30, 0, 30):
            defer(listener, seconds)
            ports.append(ask(connect(link.client, net.SERVER[4], service), listener)[0])
    for client_port, check in zip(ports, (check_known, check_unknown) * 2, strict=True):
        check(watch, client_port)


@FAMILIES
def test_of_listeners_that_share_a_port_each_has_its_own_option(watch: Watching, service: int, link: Link, family: int) -> None:
    ports: dict[bool, list[int]] = {True: [], False: []}
    with link.server.inside():
        kind = socket.AF_INET6 if family == 6 else socket.AF_INET
        patient, hasty = listeners = [socket.socket(kind) for _ in range(2)]
    with patient, hasty:
        for listener in listeners:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind((net.SERVER[family], service))
            listener.listen()
        defer(patient, 30)
        while min(map(len, ports.values())) < 3:  # the kernel chooses by the client's port
            client_port, chosen = ask(connect(link.client, net.SERVER[family], service), *listeners)
            ports[chosen is patient].append(client_port)
    for client_port in ports[True]:
        check_unknown(watch, client_port)
    for client_port in ports[False]:
        check_known(watch, client_port)


def test_a_silent_client_gets_another_syn_ack_and_then_the_connection(watch: Watching, service: int, link: Link) -> None:
    with listening(link.server, net.SERVER[4], service) as listener:
        defer(listener, 1)
        client = connect(link.client, net.SERVER[4], service)
        assert select.select([listener], [], [], PATIENCE)[0]
        assert dropped(link.server) == 1
        kernel = link.server.counters()
        client_port, _ = ask(client, listener)
    check_unknown(watch, client_port)
    again = watch.of(client_port, "retransmit", "server")
    assert [event["retransmit_kind"] for event in again] == ["syn_ack"] * kernel["TCPSynRetrans"]
    assert watch.one(client_port, "close", "server")["retransmitted_segments"] == len(again) == kernel["RetransSegs"] == 1


def test_fast_open_needs_no_waiting_so_that_its_time_is_known(watch: Watching, service: int, link: Link) -> None:
    with listening(link.server, net.SERVER[4], service) as listener:
        for side in (link.client, link.server):
            side.set("net.ipv4.tcp_fastopen", "3")
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
        defer(listener, 30)
        ports = []
        for _ in range(2):  # the first one gets the cookie
            with link.client.inside():
                client = socket.socket()
            client.sendto(b"!", socket.MSG_FASTOPEN, (net.SERVER[4], service))
            client.settimeout(PATIENCE)
            with client, listener.accept()[0] as server:
                assert server.recv(1) == b"!"
                ports.append(int(client.getsockname()[1]))
                client.close()
                assert server.recv(1) == b""
        assert link.server.counters()["TCPFastOpenPassive"] == 1
    handshakes = [watch.one(client_port, "handshake", "server") for client_port in ports]
    assert [event["fast_open"] for event in handshakes] == [False, True]
    assert handshakes[0]["handshake_seconds"] is None
    check_known(watch, ports[1])
