"""Ends that nobody asked for at that moment: of sockets whose process has closed them, and by the kernel's own patience."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.kernel.ends import Pair, abort, bring_client_to, connected, reach, unread
from tests.kernel.path import DELAY
from tests.kernel.timewait import timewait_objects
from tests.kernel.until import until
from tests.kernel.watching import Watching
from tests.needs import shown

pytestmark = pytest.mark.needs("nft")

SIOCOUTQNSD = 0x894B
MAX_ORPHANS = "/proc/sys/net/ipv4/tcp_max_orphans"
IP_RECVERR = 11


def tcp(end: socket.socket, option: int, value: int) -> None:
    end.setsockopt(socket.IPPROTO_TCP, option, value)


def do_not_linger_in_fin_wait2(pair: Pair) -> None:
    tcp(pair.client, socket.TCP_LINGER2, -1)
    bring_client_to(pair, "fin_wait2")
    pair.client.close()


def do_not_linger_when_the_fin_is_acknowledged(pair: Pair) -> None:
    tcp(pair.client, socket.TCP_LINGER2, -1)
    pair.client.close()


def linger_zero_with_data_left_in_last_ack(pair: Pair) -> None:
    fill(pair.client)
    pair.server.shutdown(socket.SHUT_WR)
    pair.wait_until("client", "close_wait")
    pair.client.shutdown(socket.SHUT_WR)
    abort(pair.client)


def data_come_after_shutdown(pair: Pair) -> None:
    pair.client.shutdown(socket.SHUT_RDWR)
    pair.wait_until("client", "fin_wait2")
    pair.server.sendall(bytes(23))


def data_come_to_an_orphan(pair: Pair) -> None:
    """One that is to wait longer than a minute for the peer's FIN stays a socket at first."""
    tcp(pair.client, socket.TCP_LINGER2, 90)
    pair.client.close()
    pair.wait_until("client", "fin_wait2")
    pair.server.sendall(bytes(23))


def data_acknowledge_the_fin(pair: Pair) -> None:
    pair.way.rule(f"tcp sport {pair.port} tcp flags & psh == 0 drop")  # the pure acknowledgement is lost
    pair.client.close()
    assert pair.server.recv(1) == b""
    pair.server.sendall(bytes(23))


def too_many_orphans(pair: Pair) -> None:
    """The kernel counts its orphans ten times a second; it has begun to when it aborts another one."""
    pair.cut("tcp flags & (fin | rst) != 0 drop")

    def counted() -> int:
        other = reach(pair.way, pair.port)
        with orphans(0):
            other.close()
        return pair.way.client.counters()["TCPAbortOnMemory"]

    until(counted, "the kernel knows of an orphan")
    with orphans(0):
        pair.client.close()


def too_many_orphans_in_last_ack(pair: Pair) -> None:
    pair.server.shutdown(socket.SHUT_WR)
    pair.wait_until("client", "close_wait")
    too_many_orphans(pair)


def fill(end: socket.socket) -> None:
    """Send until the peer's window is closed, and data are left that cannot be sent."""
    end.setblocking(False)
    before = 0

    def full() -> bool:
        nonlocal before
        with contextlib.suppress(BlockingIOError):
            while True:
                end.send(bytes(65536))
        last, before = before, unsent(end)
        return 0 < before == last

    until(full, "no more can be sent")


def unsent(end: socket.socket) -> int:
    return int(struct.unpack("i", fcntl.ioctl(end, SIOCOUTQNSD, bytes(4)))[0])


@contextmanager
def orphans(limit: int) -> Iterator[None]:
    """Allow so many orphans, in the whole machine, for as short a moment as can be."""
    fd = os.open(MAX_ORPHANS, os.O_RDWR)
    before = os.read(fd, 32)
    try:
        os.pwrite(fd, b"%d" % limit, 0)
        yield
    finally:
        os.pwrite(fd, before, 0)
        os.close(fd)


@dataclass(frozen=True)
class Reset:
    """An end by a reset of the client's: the state left, the kernel's reason, its counter, and how many of those there are."""

    end: Callable[[Pair], None]
    left: str
    why: str
    counter: str
    delay: float = 0
    count: int = 1


RESETS = {
    "LINGER2 below 0 in FIN_WAIT2": Reset(do_not_linger_in_fin_wait2, "fin_wait2", "tcp_abort_on_linger", "TCPAbortOnLinger"),
    "LINGER2 below 0, the FIN is acknowledged after close()": Reset(
        *(do_not_linger_when_the_fin_is_acknowledged, "fin_wait2", "tcp_abort_on_data", "TCPAbortOnData"), delay=DELAY
    ),
    "linger 0 in LAST_ACK with data left": Reset(
        linger_zero_with_data_left_in_last_ack, "last_ack", "tcp_disconnect_with_data", "TCPAbortOnData"
    ),
    "data after shutdown(RDWR)": Reset(data_come_after_shutdown, "fin_wait2", "tcp_abort_on_data", "TCPAbortOnData"),
    "data come to an orphan": Reset(data_come_to_an_orphan, "fin_wait2", "tcp_abort_on_data", "TCPAbortOnData"),
    "the data acknowledge the FIN": Reset(data_acknowledge_the_fin, "fin_wait2", "tcp_abort_on_data", "TCPAbortOnData"),
    "too many orphans": Reset(too_many_orphans, "fin_wait1", "tcp_abort_on_memory", "TCPAbortOnMemory", count=2),
    "too many orphans in LAST_ACK": Reset(
        too_many_orphans_in_last_ack, "last_ack", "tcp_abort_on_memory", "TCPAbortOnMemory", count=2
    ),
}


@pytest.mark.parametrize("name", RESETS)
def test_a_reset_that_follows_the_end_is_its_cause(watch: Watching, service: int, name: str) -> None:
    reset = RESETS[name]
    with connected(service, reset.delay) as pair:
        port = pair.client.getsockname()[1]
        reset.end(pair)
        end = watch.one(port, "close", "client")
        kernel = pair.way.client.counters()
        abort(pair.server)
    why = shown("reset_reason", reset.why)
    assert (end["from"], end["reason"], end["reset_reason"]) == (reset.left, "reset_sent", why)
    assert [e["reset_reason"] for e in watch.of(port, "reset", "client", direction="sent")] == [why]
    assert watch.of(port, "reset", "client", direction="received") == []
    assert (kernel["OutRsts"], kernel[reset.counter], kernel["TW"]) == (reset.count, reset.count, 0)


@pytest.mark.parametrize("state", ["fin_wait1", "last_ack"])
def test_an_orphan_that_nobody_answers_times_out(watch: Watching, service: int, state: str) -> None:
    with connected(service) as pair:
        pair.way.client.set("net.ipv4.tcp_orphan_retries", "1")
        port = pair.client.getsockname()[1]
        if state == "last_ack":
            pair.server.shutdown(socket.SHUT_WR)
            pair.wait_until("client", "close_wait")
        pair.cut()
        pair.client.close()
        end = watch.one(port, "close", "client")
        kernel = pair.way.client.counters()
        abort(pair.server)
    assert (end["from"], end["reason"], end["errno"]) == (state, "timed_out", errno.ETIMEDOUT)
    assert (kernel["TCPAbortOnTimeout"], kernel["OutRsts"]) == (1, 0)


@pytest.mark.parametrize("state", ["established", "close_wait", "fin_wait2"])
def test_a_peer_that_answers_no_keepalive_times_out_and_is_sent_a_reset(watch: Watching, service: int, state: str) -> None:
    with connected(service) as pair:
        port = pair.client.getsockname()[1]
        bring_client_to(pair, state)
        pair.cut()
        for option, value in ((socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 1)):
            tcp(pair.client, option, value)
        pair.client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        end = watch.one(port, "close", "client")
        kernel = pair.way.client.counters()
        abort(pair.server)
    assert (end["from"], end["reason"], end["errno"]) == (state, "timed_out", errno.ETIMEDOUT)
    assert [e["reset_reason"] for e in watch.of(port, "reset", "client")] == [shown("reset_reason", "tcp_keepalive_timeout")]
    assert (kernel["TCPAbortOnTimeout"], kernel["OutRsts"]) == (1, 1)


@pytest.mark.parametrize("icmp", [0, errno.EHOSTUNREACH], ids=["silence", "ICMP"])
@pytest.mark.parametrize("recverr", [0, 1], ids=["", "IP_RECVERR"])
def test_a_user_timeout_ends_a_connection_with_the_error_that_its_application_has(
    watch: Watching, service: int, icmp: int, recverr: int
) -> None:
    """What ICMP said is the error of the timeout, unless it was told at once, as IP_RECVERR asks.

    An ICMP message that comes within send() is only kept; so the first segment is lost in silence.
    """
    with connected(service) as pair:
        port = pair.client.getsockname()[1]
        pair.client.setsockopt(socket.IPPROTO_IP, IP_RECVERR, recverr)
        tcp(pair.client, socket.TCP_USER_TIMEOUT, 1000)
        pair.cut("numgen inc mod 1000000 0 drop")
        pair.cut("reject with icmp host-unreachable" if icmp else "drop")
        pair.client.sendall(bytes(23))
        end = watch.one(port, "close", "client")
        error = pair.client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        kernel = pair.way.client.counters()
        abort(pair.server)
    assert error == (icmp if icmp and not recverr else errno.ETIMEDOUT)
    assert (end["from"], end["errno"]) == ("established", error)
    assert end["reason"] == ("timed_out" if error == errno.ETIMEDOUT else "other")
    assert (end["sent_bytes"], end["unacknowledged_bytes"]) == (23, 23)
    assert (kernel["TCPAbortOnTimeout"], kernel["OutRsts"], kernel["EstabResets"]) == (1, 0, 1)


def test_an_icmp_error_that_the_connection_has_outlived_is_not_the_cause_of_its_end(watch: Watching, service: int) -> None:
    with connected(service) as pair:
        port = pair.client.getsockname()[1]
        pair.client.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        once = f"tcp dport {service} numgen inc mod 1000000 0"
        pair.way.rule(f"{once} reject with icmp host-unreachable")
        pair.client.sendall(bytes(23))
        until(lambda: unread(pair.server) == 23, "the data are there, retransmitted")
        pair.client.close()
        assert pair.server.recv(24, socket.MSG_WAITALL) == bytes(23)
        pair.server.close()
        end = watch.one(port, "close", "client")
    assert (end["from"], end["reason"], end["errno"], end["closed_first"]) == ("fin_wait2", "normal", None, "local")


def test_an_orphan_that_waits_longer_than_a_minute_becomes_a_timewait_object_later(watch: Watching, service: int) -> None:
    with connected(service) as pair:
        port = pair.client.getsockname()[1]
        tcp(pair.client, socket.TCP_LINGER2, 61)
        pair.client.close()
        end = watch.one(port, "close", "client")
        left = timewait_objects(pair.way.client)
        abort(pair.server)
    assert (end["from"], end["reason"], left) == ("fin_wait2", "normal", 1)
    assert end["states"]["fin_wait2"] > 0.5
