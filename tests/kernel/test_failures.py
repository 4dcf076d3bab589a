"""Every way in which a handshake can fail, produced for real and reported as such."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from tests.kernel.capture import ACK, RST, SYN
from tests.kernel.net import Namespace
from tests.kernel.path import CLIENT, DELAY, SERVER, route
from tests.kernel.traffic import connect, listening
from tests.kernel.until import until
from tests.kernel.watching import Watching
from tests.kernel.wire import THERE, Segment, wire

pytestmark = pytest.mark.needs("nft")


@dataclass(frozen=True)
class Failure:
    """What becomes of the SYN (in nft's language), and how the attempt must end."""

    reason: str
    number: int
    rule: str = ""
    family: int = 4
    settings: dict[str, str] = field(default_factory=dict)
    retransmitted: bool = False
    options: dict[int, int] = field(default_factory=dict)


IMPATIENT = {"net.ipv4.tcp_syn_retries": "1"}

FAILURES = {
    "nobody listens": Failure("refused", errno.ECONNREFUSED),
    "nobody listens, IPv6": Failure("refused", errno.ECONNREFUSED, family=6),
    "a firewall resets": Failure("refused", errno.ECONNREFUSED, "reject with tcp reset"),
    "silence": Failure("timed_out", errno.ETIMEDOUT, "drop", settings=IMPATIENT, retransmitted=True),
    "silence, IPv6": Failure("timed_out", errno.ETIMEDOUT, "drop", family=6, settings=IMPATIENT, retransmitted=True),
    "silence, TCP_SYNCNT": Failure("timed_out", errno.ETIMEDOUT, "drop", options={socket.TCP_SYNCNT: 1}, retransmitted=True),
    "silence, TCP_USER_TIMEOUT": Failure(
        *("timed_out", errno.ETIMEDOUT, "drop"), options={socket.TCP_USER_TIMEOUT: 1500}, retransmitted=True
    ),
    "no such host": Failure("host_unreachable", errno.EHOSTUNREACH, "reject with icmp host-unreachable"),
    "no such host, IPv6": Failure("host_unreachable", errno.EHOSTUNREACH, "reject with icmpv6 addr-unreachable", family=6),
    "no such network": Failure("net_unreachable", errno.ENETUNREACH, "reject with icmp net-unreachable"),
    "no such network, IPv6": Failure("net_unreachable", errno.ENETUNREACH, "reject with icmpv6 no-route", family=6),
    "no such protocol": Failure("other", errno.ENOPROTOOPT, "reject with icmp prot-unreachable"),
    "prohibited, IPv6": Failure("other", errno.EACCES, "reject with icmpv6 admin-prohibited", family=6),
}


def bound_socket(side: Namespace, family: int) -> socket.socket:
    """Return a socket whose port is known before it connects, and still is when that has failed."""
    with side.inside():
        client = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET)
    client.bind((CLIENT[family], 0))
    return client


@pytest.mark.parametrize("failure", [pytest.param(failure, id=name) for name, failure in FAILURES.items()])
def test_a_failed_handshake_has_its_reason(watch: Watching, service: int, failure: Failure) -> None:
    # An ICMP message is ignored while the program is still inside connect(), as it would be if it came at once.
    with route(DELAY) as way, bound_socket(way.client, failure.family) as client:
        for name, value in failure.settings.items():
            way.client.set(name, value)
        for option, number in failure.options.items():
            client.setsockopt(socket.IPPROTO_TCP, option, number)
        if failure.rule:
            way.rule(f"tcp dport {service} {failure.rule}", at_server=True)
        client_port, start = client.getsockname()[1], time.monotonic()
        with pytest.raises(OSError, match=os.strerror(failure.number)):
            client.connect((SERVER[failure.family], service))
        elapsed, kernel = time.monotonic() - start, way.client.counters()
    event = watch.one(client_port, "failure", "client")
    assert (event["reason"], event["errno"]) == (failure.reason, failure.number)
    assert event["family"] == failure.family
    assert event["from"] == "syn_sent"
    assert 0 < event["duration_seconds"] == event["states"]["syn_sent"] <= elapsed
    again = kernel["RetransSegs"]
    assert again or not failure.retransmitted  # on a slow machine an answer can come while connect() is busy, and not count
    assert (event["sent_segments"], event["retransmitted_segments"]) == (1 + again, again)
    assert [e["retransmit_kind"] for e in watch.of(client_port, "retransmit")] == ["syn"] * again
    assert kernel["AttemptFails"] == 1
    assert not watch.of(client_port, "handshake") + watch.of(client_port, "close")


PATIENCE = 0.3


async def give_up(client: socket.socket, address: str, port: int) -> None:
    await asyncio.wait_for(asyncio.get_running_loop().sock_connect(client, (address, port)), PATIENCE)


@pytest.mark.parametrize("family", [4, 6])
def test_an_application_that_gives_up_is_canceled_with_the_time_it_had_waited(
    watch: Watching, service: int, family: int
) -> None:
    with route() as way:
        way.rule(f"tcp dport {service} drop")
        with bound_socket(way.client, family) as client:
            client.setblocking(False)
            client_port, start = client.getsockname()[1], time.monotonic()
            with pytest.raises(TimeoutError):
                asyncio.run(give_up(client, SERVER[family], service))
        elapsed = time.monotonic() - start
    event = watch.one(client_port, "failure", "client")
    assert (event["reason"], event["errno"]) == ("canceled", None)
    print(f"canceled: tcptrace {event['duration_seconds']:.6f} s, the program {elapsed:.6f} s")
    assert PATIENCE - 0.05 < event["duration_seconds"] <= elapsed


@pytest.mark.parametrize("family", [4, 6])
def test_a_connection_that_finds_no_free_port_is_no_port(watch: Watching, service: int, family: int) -> None:
    known = len(watch.of(None, "failure", "client"))
    with route() as way, listening(way.server, SERVER[family], service) as listener:
        way.client.set("net.ipv4.ip_local_port_range", "40001 40001")
        before = way.client.counters()["ActiveOpens"]
        with connect(way.client, SERVER[family], service), listener.accept()[0]:
            with pytest.raises(OSError, match=os.strerror(errno.EADDRNOTAVAIL)):
                connect(way.client, SERVER[family], service)
            event = until(lambda: watch.of(None, "failure", "client")[known:], "the failure is printed")[0]
            assert way.client.counters()["ActiveOpens"] - before == 1
    assert (event["reason"], event["family"], event["remote_port"]) == ("no_port", family, service)
    assert event["port_range"] is None
    assert event["sent_segments"] == 0


IP_LOCAL_PORT_RANGE = 51


@pytest.mark.needs_kernel("port_range")
@pytest.mark.parametrize("family", [4, 6])
def test_a_socket_s_own_range_of_ports_is_told_when_none_of_it_is_free(watch: Watching, service: int, family: int) -> None:
    known = len(watch.of(None, "failure", "client"))
    with route() as way, listening(way.server, SERVER[family], service), ExitStack() as stack:
        result = 0
        for _ in range(3):
            with way.client.inside():
                client = stack.enter_context(socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET))
            client.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, struct.pack("I", 40000 | 40001 << 16))
            result = client.connect_ex((SERVER[family], service))
        assert result == errno.EADDRNOTAVAIL
        event = until(lambda: watch.of(None, "failure", "client")[known:], "the failure is printed")[0]
    assert (event["reason"], event["port_range"]) == ("no_port", "40000-40001")


def test_a_reset_between_syn_and_establishment_is_reset(watch: Watching, service: int, side: Namespace) -> None:
    with wire(side) as peer:
        with side.inside():
            client = socket.socket()
        with client:
            client.setblocking(False)
            client.connect_ex((THERE, service))
            syn = peer.read()
            peer.write(Segment(service, syn.sport, 1000, 0, SYN))  # not an answer: this side opens as well
            answer = peer.read()
            assert answer.flags == SYN | ACK
            peer.write(Segment(service, syn.sport, 1001, 0, RST))
            event = watch.one(syn.sport, "failure", "client")
            assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET
    assert (event["reason"], event["errno"], event["from"]) == ("reset", errno.ECONNRESET, "syn_recv")
    assert set(event["states"]) == {"syn_sent", "syn_recv"}
    assert watch.one(syn.sport, "reset", "client")["direction"] == "received"
