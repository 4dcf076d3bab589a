"""Servers whose first data come with the SYN (TCP Fast Open): what begins, and what fails, before the last ACK."""

from __future__ import annotations

import errno
import socket

import pytest

from tests.kernel.beginnings import BOTH_SIDES_WITHOUT_COOKIE, fresh
from tests.kernel.net import Namespace
from tests.kernel.traffic import listening
from tests.kernel.until import PATIENCE, until
from tests.kernel.watching import Watching

pytestmark = pytest.mark.needs("nft")

HOST = "127.0.0.1"


def test_a_fast_open_server_that_closes_before_the_last_ack_has_had_its_handshake(
    watch: Watching, service: int, side: Namespace
) -> None:
    side.set("net.ipv4.tcp_fastopen", BOTH_SIDES_WITHOUT_COOKIE)
    side.drop(f"tcp sport {service} tcp flags & (syn | ack) == (syn | ack)")
    with listening(side, HOST, service) as listener:
        client = fresh(side, HOST)
        client.setblocking(False)
        client.sendto(b"hello", socket.MSG_FASTOPEN, (HOST, service))
        server, port = listener.accept()[0], client.getsockname()[1]
        assert server.recv(5) == b"hello"
        server.close()  # before the client has an answer
        client.settimeout(PATIENCE)
        until(lambda: watch.of(port, "handshake", "server"), "the handshake is printed")
        client.close()
    event = watch.one(port, "handshake", "server")
    assert event["handshake_seconds"] is None
    assert watch.one(port, "close", "server")["reason"] in {"normal", "reset_received"}
    assert not watch.of(port, "failure")


def test_a_fast_open_server_that_never_gets_the_last_ack_has_failed(watch: Watching, service: int, side: Namespace) -> None:
    side.set("net.ipv4.tcp_fastopen", BOTH_SIDES_WITHOUT_COOKIE)
    side.set("net.ipv4.tcp_synack_retries", "0")
    side.drop(f"tcp sport {service}", count=1000)
    with listening(side, HOST, service) as listener, fresh(side, HOST) as client:
        client.setblocking(False)
        client.sendto(b"hello", socket.MSG_FASTOPEN, (HOST, service))
        server, port = listener.accept()[0], client.getsockname()[1]
        assert server.recv(5) == b"hello"
        server.close()
        event = watch.one(port, "failure", "server")
    assert event["from"] == "fin_wait1"
    assert (event["reason"], event["errno"]) == ("timed_out", errno.ETIMEDOUT)
    assert not watch.of(port, "handshake", "server") + watch.of(port, "close", "server")


def test_a_fast_open_child_goes_with_its_listener(watch: Watching, service: int, side: Namespace) -> None:
    side.set("net.ipv4.tcp_fastopen", BOTH_SIDES_WITHOUT_COOKIE)
    side.drop(f"tcp sport {service}", count=1000)
    with listening(side, HOST, service), fresh(side, HOST) as client:
        client.setblocking(False)
        client.sendto(b"hello", socket.MSG_FASTOPEN, (HOST, service))
        port = client.getsockname()[1]
        until(lambda: side.counters()["PassiveOpens"], "the child is there")
    event = watch.one(port, "failure", "server")
    assert (event["reason"], event["from"]) == ("canceled", "syn_recv")
