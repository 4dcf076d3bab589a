"""Handshakes out of the ordinary: those that have no honest time, Fast Open, both sides at once, IPv4 on IPv6 sockets."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.kernel.capture import ACK, SYN, Frame, measured
from tests.kernel.net import Namespace
from tests.kernel.path import CLIENT, DELAY, SERVER
from tests.kernel.scene import HANDSHAKES, ROLES, Scene, client_handshake, converse, receive, scene
from tests.kernel.tracing import tracing
from tests.kernel.traffic import connect, listening
from tests.kernel.until import PATIENCE, until
from tests.kernel.watching import Watching, watching

pytestmark = pytest.mark.needs("tcpdump", "tshark", "nft")

DELAYS = pytest.mark.parametrize("delay", [pytest.param(0, id="at once"), pytest.param(DELAY, id="delayed")])


def use_cookies(here: Scene) -> None:
    here.route.server.set("net.ipv4.tcp_syncookies", "2")


def lose_a_syn_ack_without_timestamps(here: Scene) -> None:
    here.route.set("net.ipv4.tcp_timestamps", "0")
    here.route.lose(f"tcp sport {here.port} tcp flags & (syn | ack) == (syn | ack)")


@DELAYS
@pytest.mark.parametrize("prepare", [use_cookies, lose_a_syn_ack_without_timestamps])
def test_a_servers_handshake_without_an_honest_time_is_counted_and_has_none(
    watch: Watching, service: int, tmp_path: Path, prepare: object, delay: float
) -> None:
    assert callable(prepare)
    with tracing("--port", str(service)) as tracer, scene(watch, service, tmp_path, delay) as here:
        prepare(here)
        client_port = converse(here, SERVER[4])
        assert here.kernel("server")["SyncookiesRecv"] == (prepare is use_cookies)
        frames = here.frames(client_port)
        tracer.wait_for_transitions({("syn_recv", "established"): 1, ("last_ack", "close"): 1})
        scrape = tracer.scrape()
    unknown, known = watch.one(client_port, "handshake", "server"), watch.one(client_port, "handshake", "client")
    assert unknown["handshake_seconds"] is unknown["srtt_seconds"] is unknown["min_rtt_seconds"] is None
    end = watch.one(client_port, "close", "server")
    assert end["handshake_seconds"] is None
    assert (end["srtt_seconds"] is None) == (prepare is use_cookies)  # its first sample is none, and stays in the average
    assert known["handshake_seconds"] == measured(client_handshake(frames["client"]))
    for role, times in (("client", 1), ("server", 0)):
        own = {"role": role, "port": str(service)}
        assert scrape.value("handshakes_total", **own) == 1
        assert (scrape.value("handshake_duration_seconds_count", **own) or 0) == times
        check_initial_sequences(watch, client_port, role, frames[role])


def check_initial_sequences(watch: Watching, client_port: int, role: str, frames: list[Frame]) -> None:
    own = ("client", "server") if role == "client" else ("server", "client")
    sent = {
        "client": next(f for f in frames if f.has(SYN) and not f.has(ACK)).sequence,
        "server": next(f for f in frames if f.has(SYN, ACK)).sequence,
    }
    event = watch.one(client_port, "close", role)
    assert [event["initial_sequence"], event["peer_initial_sequence"]] == [sent[side] for side in own]


def open_fast(side: Namespace, address: str, port: int, data: bytes) -> socket.socket:
    """Return a socket that connects with data in its SYN, if it has the server's cookie."""
    with side.inside():
        client = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    assert client.sendto(data, socket.MSG_FASTOPEN, (address, port)) == len(data)
    client.settimeout(PATIENCE)
    return client


@DELAYS
@pytest.mark.parametrize("family", [4, 6])
def test_fast_open_has_the_times_and_bytes_of_what_was_on_the_wire(
    watch: Watching, service: int, tmp_path: Path, family: int, delay: float
) -> None:
    request, answer = bytes(500), bytes(700)
    with scene(watch, service, tmp_path, delay) as here:
        here.route.set("net.ipv4.tcp_fastopen", "3")
        ports = []
        with listening(here.route.server, SERVER[family], service) as listener:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
            for _ in range(2):  # the first one gets the cookie, the second one uses it
                client = open_fast(here.route.client, SERVER[family], service, request)
                server, (_, client_port, *_) = listener.accept()
                with client, server:
                    receive(server, len(request))
                    server.sendall(answer)
                    receive(client, len(answer))
                    client.close()
                    assert server.recv(1) == b""
                ports.append(client_port)
        here.wait_until_over()
        assert here.kernel("server")["TCPFastOpenPassive"] == here.kernel("client")["TCPFastOpenActive"] == 1
        every = {role: here.captures[role].frames() for role in ROLES}
    for client_port, fast in zip(ports, (False, True), strict=True):
        for role in ROLES:
            frames = [frame for frame in every[role] if client_port in (frame.sport, frame.dport)]
            assert any(frame.has(SYN) and frame.length for frame in frames) == fast
            truth = HANDSHAKES[role](frames)
            event, end = watch.one(client_port, "handshake", role), watch.one(client_port, "close", role)
            print(f"{role} fast={fast}: tcptrace {event['handshake_seconds']} s, tshark {truth:.6f} s")
            assert event["handshake_seconds"] == end["handshake_seconds"] == measured(truth)
            assert event["fast_open"] == end["fast_open"] == fast
            assert end["reason"] == "normal"
            own = (end["sent_bytes"], end["received_bytes"])
            assert (own if role == "client" else own[::-1]) == (len(request), len(answer))
            check_initial_sequences(watch, client_port, role, frames)


@pytest.mark.parametrize("family", [4, 6])
def test_both_sides_that_open_at_once_are_clients_with_the_times_of_the_wire(
    watch: Watching, service: int, tmp_path: Path, family: int
) -> None:
    with scene(watch, service, tmp_path, DELAY) as here:
        ends = ((here.route.client, CLIENT[family], service + 1), (here.route.server, SERVER[family], service))
        sockets = []
        for side, address, own_port in ends:
            with side.inside():
                sockets.append(socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET))
            sockets[-1].bind((address, own_port))
            sockets[-1].setblocking(False)
        for opener, (_, address, peer_port) in zip(sockets, reversed(ends), strict=True):
            opener.connect_ex((address, peer_port))
        for role in ROLES:
            here.wait_until(role, lambda states: states["established"] == 1, "is established")
        with sockets[0], sockets[1]:
            for sender, receiver in (sockets, reversed(sockets)):
                receiver.settimeout(PATIENCE)
                sender.sendall(bytes(23))
                receive(receiver, 23)
        here.wait_until_over()
        every = {role: here.captures[role].frames() for role in ROLES}
    for role, (_, _, own_port) in zip(ROLES, ends, strict=True):
        first_syns = {f.sport: f for f in reversed(every[role]) if f.has(SYN)}
        own, peer = first_syns[own_port], next(f for f in every[role] if f.has(SYN, ACK) and f.dport == own_port)
        event = watch.one(own_port, "handshake", "client", local_port=own_port, family=family)
        print(f"{role}: tcptrace {event['handshake_seconds']} s, tshark {(peer.time_ns - own.time_ns) / 1e9:.6f} s")
        assert event["handshake_seconds"] == measured((peer.time_ns - own.time_ns) / 1e9)
        assert (event["initial_sequence"], event["peer_initial_sequence"]) == (own.sequence, peer.sequence)
        end = watch.one(own_port, "close", "client", local_port=own_port, family=family)
        assert (end["reason"], end["sent_bytes"], end["received_bytes"]) == ("normal", 23, 23)


def test_ipv4_on_ipv6_sockets_is_ipv4(watch: Watching, service: int, tmp_path: Path) -> None:
    with scene(watch, service, tmp_path, DELAY) as here:
        client_port = converse(here, f"::ffff:{SERVER[4]}")
        frames = here.frames(client_port)
    for role in ROLES:
        event = watch.one(client_port, "handshake", role)
        assert event["handshake_seconds"] == measured(HANDSHAKES[role](frames[role]))
        assert event["family"] == 4
        addresses = [event["local_address"], event["remote_address"]]
        assert addresses == ([CLIENT[4], SERVER[4]] if role == "client" else [SERVER[4], CLIENT[4]])
        check_initial_sequences(watch, client_port, role, frames[role])


def test_a_connection_older_than_the_tracer_has_no_times_and_no_sequence_numbers(
    tmp_path: Path, side: Namespace, port: int
) -> None:
    with listening(side, "127.0.0.1", port) as listener:
        client = connect(side, "127.0.0.1", port)
        server, (_, client_port) = listener.accept()
        with watching("--port", str(port), side=side) as watch, client, server:
            client.sendall(bytes(23))
            receive(server, 23)
            client.close()
            assert server.recv(1) == b""
            server.close()
            ends = [watch.one(client_port, "close", role) for role in ROLES]
            until(lambda: side.open_sockets() == 0, "every connection has ended")
            watch.stop()
    for end in ends:
        assert end["partial"]
        assert end["reason"] == "normal"
        unknown = ("handshake_seconds", "duration_seconds", "states", "initial_sequence", "peer_initial_sequence")
        assert [end[name] for name in unknown] == [None] * len(unknown)
    assert {event["kind"] for event in watch.events} == {"close"}
