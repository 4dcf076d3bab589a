"""Segments that are too large for the path: retransmitted at once in smaller ones, by no timer, and counted as kind `mtu`."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.kernel.path import SERVER, Route, route
from tests.kernel.scene import exchange, kinds, receive
from tests.kernel.traffic import connect, listening
from tests.kernel.until import PATIENCE
from tests.kernel.watching import Event, Watching
from tests.needs import tool

pytestmark = pytest.mark.needs("nft")

PATH_MTU = 1300
SIZE = 12_000
REQUEST = bytes(500)
FAMILIES = pytest.mark.parametrize("family", [4, 6])


@pytest.fixture(name="narrow")
def fixture_narrow() -> Iterator[Route]:
    """Return a route whose second half takes smaller packets, with patient timers: none but the test's own runs out."""
    with route() as way:
        way.router.run(tool("ip"), "link", "set", "right", "mtu", str(PATH_MTU))
        way.set("net.ipv4.tcp_early_retrans", "0")
        yield way


def be_patient(way: Route) -> None:
    for family, gateway in (("-4", "10.24.0.254"), ("-6", "fd24::fe")):
        way.client.run(tool("ip"), family, "route", "replace", "default", "via", gateway, "rto_min", "20s")


def swallow_errors(way: Route) -> None:
    """Have the router say nothing of packets that are too large."""
    rule = "icmp type destination-unreachable drop; icmpv6 type packet-too-big drop;"
    chain = f"chain out {{ type filter hook output priority 0; {rule} }}"
    way.router.run(tool("nft"), "-f", "-", text=f"table inet hole {{ {chain}; }}")


def send(watch: Watching, way: Route, port: int, family: int, size: int = SIZE) -> tuple[list[Event], Event, dict[str, int]]:
    """Send so many bytes from client to server; return the client's retransmissions, its end, and the kernel's counts."""
    with listening(way.server, SERVER[family], port) as listener:
        client = connect(way.client, SERVER[family], port)
        with client, listener.accept()[0] as server:
            client_port = client.getsockname()[1]
            exchange(client, server, size)
            client.close()
            assert server.recv(1) == b""
    end = watch.one(client_port, "close", "client")
    return watch.of(client_port, "retransmit", "client"), end, way.client.counters()


def data_kinds(events: list[Event]) -> Counter[str]:
    """Return how many segments of data were retransmitted, by kind: a slow machine may retransmit a SYN or a FIN."""
    return Counter({kind: count for kind, count in kinds(events).items() if kind not in {"syn", "fin"}})


@FAMILIES
def test_segments_that_a_router_calls_too_large_are_retransmitted_as_mtu(
    watch: Watching, service: int, narrow: Route, family: int
) -> None:
    be_patient(narrow)
    events, end, kernel = send(watch, narrow, service, family)
    print(kinds(events), {name: kernel[name] for name in ("RetransSegs", "TCPFastRetrans", "TCPSlowStartRetrans")})
    assert set(data_kinds(events)) <= {"mtu", "fast"}  # what was on its way behind them can show a gap besides
    assert kinds(events)["mtu"] == kernel["TCPSlowStartRetrans"] > 0
    assert kinds(events)["fast"] == kernel["TCPFastRetrans"]
    assert kinds(events).total() == kernel["RetransSegs"] == end["retransmitted_segments"]
    assert end["sent_bytes"] == SIZE
    assert {event["errno"] for event in events} == {None}


@FAMILIES
def test_where_a_black_hole_swallows_the_errors_the_timer_runs_out(
    watch: Watching, service: int, narrow: Route, family: int
) -> None:
    swallow_errors(narrow)
    narrow.client.set("net.ipv4.tcp_mtu_probing", "1")
    narrow.client.set("net.ipv4.tcp_retries1", "1")
    events, end, kernel = send(watch, narrow, service, family)
    print(kinds(events), {name: kernel[name] for name in ("RetransSegs", "TCPTimeouts", "TCPSlowStartRetrans")})
    assert {"timeout"} <= set(data_kinds(events)) <= {"timeout", "fast"}
    assert kinds(events).total() == kernel["RetransSegs"] == end["retransmitted_segments"]
    assert kernel["TCPTimeouts"] >= 2
    assert end["sent_bytes"] == SIZE


def test_a_lost_probe_for_a_larger_mtu_is_retransmitted_as_mtu(watch: Watching, service: int, narrow: Route) -> None:
    swallow_errors(narrow)
    be_patient(narrow)
    narrow.client.set("net.ipv4.tcp_mtu_probing", "2")
    narrow.client.set("net.ipv4.tcp_base_mss", "1180")  # the first probe is too large: a slow machine sends one alone
    events, end, kernel = send(watch, narrow, service, 4, 1_000_000)
    print(kinds(events), {name: kernel[name] for name in ("RetransSegs", "TCPMTUPFail", "TCPMTUPSuccess", "TCPTimeouts")})
    assert kernel["TCPMTUPFail"] > 0
    assert set(data_kinds(events)) <= {"mtu", "fast"}
    assert kinds(events)["mtu"] == kernel["TCPSlowStartRetrans"] > 0
    assert kinds(events).total() == kernel["RetransSegs"] == end["retransmitted_segments"]
    assert end["sent_bytes"] == 1_000_000


def open_fast(way: Route, listener: socket.socket, address: str, port: int) -> int:
    """Have one connection carry REQUEST in its SYN, if the client has a cookie, and close it; return the client's port."""
    with way.client.inside():
        client = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    with client:
        assert client.sendto(REQUEST, socket.MSG_FASTOPEN, (address, port)) == len(REQUEST)
        client.settimeout(PATIENCE)
        with listener.accept()[0] as server:
            receive(server, len(REQUEST))
            client_port = int(client.getsockname()[1])
            client.close()
            assert server.recv(1) == b""
    return client_port


@FAMILIES
def test_fast_open_data_that_the_syn_ack_left_out_is_retransmitted_as_fast(watch: Watching, service: int, family: int) -> None:
    with route() as way, listening(way.server, SERVER[family], service) as listener:
        way.set("net.ipv4.tcp_fastopen", "3")
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
        open_fast(way, listener, SERVER[family], service)  # gets the cookie
        way.server.set("net.ipv4.tcp_fastopen", "0")
        client_port = open_fast(way, listener, SERVER[family], service)
        end = watch.one(client_port, "close", "client")
        kernel = way.client.counters()
    events = watch.of(client_port, "retransmit", "client")
    assert kernel["TCPFastOpenActiveFail"] == 1
    assert (data_kinds(events), end["sent_bytes"], end["fast_open"]) == ({"fast": 1}, len(REQUEST), False)
    assert kinds(events).total() == kernel["RetransSegs"]
