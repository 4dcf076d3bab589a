"""The beginnings of test_beginnings.py in the counters: as many as the kernel counts, at every moment."""

from __future__ import annotations

import errno
import socket

import pytest

from tests.kernel.beginnings import BOTH_SIDES_WITHOUT_COOKIE, fresh, restore, resume, save, waiting
from tests.kernel.net import Namespace
from tests.kernel.tracing import Scrape, Tracing, tracing
from tests.kernel.traffic import PING, connect, converse, listening
from tests.kernel.until import until

pytestmark = pytest.mark.kernel

HERE = "127.0.0.1"


def agrees(scrape: Scrape, kernel: dict[str, int]) -> bool:
    """Say whether both sides of the audit are the same, and not older than what the kernel had counted."""
    names = ("ActiveOpens", "PassiveOpens", "EstabResets")
    pairs = [[scrape.value(f"audit_{whose}_total", counter=name) or 0 for whose in ("kernel", "traced")] for name in names]
    return all(ours == theirs >= kernel[name] for name, (theirs, ours) in zip(names, pairs, strict=True))


def wait_until_both_agree(run: Tracing, side: Namespace) -> Scrape:
    """Return the first scrape in which the audit has all that the kernel has counted by now, scrapes too, and no drift."""
    kernel = side.counters()
    seen: list[Scrape] = []

    def agree() -> bool:
        seen[:] = [run.scrape()]
        return agrees(seen[0], kernel)

    until(agree, f"the audit has {kernel['ActiveOpens']} ActiveOpens on both sides")
    return seen[0]


def test_every_beginning_is_counted_as_the_kernel_counts_it(side: Namespace, port: int) -> None:
    side.set("net.ipv4.tcp_fastopen", BOTH_SIDES_WITHOUT_COOKIE)
    with tracing("--netns", "own", "--port", str(port), side=side) as run, listening(side, HERE, port) as listener:
        # a connect() that waits, and one that is given up
        client, given_up = waiting(side, HERE, port), waiting(side, HERE, port)
        wait_until_both_agree(run, side)
        given_up.close()
        client.send(PING)
        server = listener.accept()[0]
        assert server.recv(len(PING), socket.MSG_WAITALL) == PING
        assert wait_until_both_agree(run, side).value("connections", port=str(port)) == 2
        converse(client, server)

        # a checkpoint, and its restoring
        client = connect(side, HERE, port)
        server = listener.accept()[0]
        saved = save(client), save(server)
        until(lambda: run.scrape().value("connections", port=str(port)) == 0, "none is open")
        client, server = (restore(side, one) for one in saved)
        for end in (client, server):
            resume(end)
        until(lambda: run.scrape().value("connections", port=str(port)) == 2, "both sides are open again")
        wait_until_both_agree(run, side)
        converse(client, server)

        # no port
        side.set("net.ipv4.ip_local_port_range", "40001 40001")
        with connect(side, HERE, port), listener.accept()[0], fresh(side, HERE) as late:
            assert late.connect_ex((HERE, port)) == errno.EADDRNOTAVAIL
            side.set("net.ipv4.ip_local_port_range", "32768 60999")  # a scrape takes one
            wait_until_both_agree(run, side)
        until(lambda: run.scrape().value("connections", port=str(port)) == 0, "none is open")
        summary = run.stop()
    assert [summary.count("handshakes", role=role) for role in ("client", "server")] == [3, 3]
    assert summary.count("failures", reason="canceled") == 1
    assert summary.count("failures", reason="no_port") == 1
    assert summary.count("closes", reason="other") == 2
    assert summary.count("closes", reason="normal") == 6
    assert summary.document["events_lost"] == 0


@pytest.mark.needs("nft")
def test_a_waiting_syn_that_nobody_answers_is_no_drift(side: Namespace, port: int) -> None:
    side.set("net.ipv4.tcp_fastopen", BOTH_SIDES_WITHOUT_COOKIE)
    side.drop(f"tcp dport {port}", count=1000)
    with tracing("--netns", "own", "--port", str(port), side=side) as run, waiting(side, HERE, port) as client:
        client.setblocking(False)
        client.send(b"ping", socket.MSG_DONTWAIT)
        assert side.counters()["ActiveOpens"] == 1
        wait_until_both_agree(run, side)
        client.close()
        wait_until_both_agree(run, side)


def test_a_fast_open_server_that_closes_early_leaves_the_gauge_right(side: Namespace, port: int) -> None:
    side.set("net.ipv4.tcp_fastopen", BOTH_SIDES_WITHOUT_COOKIE)
    side.set("net.ipv4.tcp_fin_timeout", "1")
    with (
        tracing("--netns", "own", "--port", str(port), "--role", "server", side=side) as run,
        listening(side, HERE, port) as listener,
    ):
        stays = connect(side, HERE, port), listener.accept()[0]
        for _ in range(3):
            with fresh(side, HERE) as client:
                client.sendto(b"ping", socket.MSG_FASTOPEN, (HERE, port))
                server = listener.accept()[0]
                assert server.recv(4) == b"ping"
                server.close()
                assert client.recv(1) == b""
        until(lambda: run.scrape().value("connections_closed_total", port=str(port)) == 3, "all but one are closed")
        assert run.scrape().value("handshakes_total", port=str(port)) == 4
        until(lambda: run.scrape().value("connections", port=str(port)) == 1, "the one that stays is open")
        for end in stays:
            end.close()
