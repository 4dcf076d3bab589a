"""Scrapes while everything happens at once: no counter, and nothing in a histogram, is ever lower than before."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kernel.net import Namespace
from tests.kernel.tracing import Scrape, Tracing, tracing
from tests.kernel.traffic import connect, listening, refuse, talk
from tests.kernel.until import until
from tests.needs import tool

pytestmark = pytest.mark.needs("gcc", "nft")

ADDRESS = "127.0.0.1"
CONNECTIONS = 20_000
WORKERS = 2
TIMES = 23
RISING = ("_total", "_count", "_bucket", "_sum")

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def rising(scrape: Scrape) -> Samples:
    """Return the samples of counters and histograms."""
    return {key: value for key, value in scrape.samples.items() if key[0].endswith(RISING)}


def fallen(before: Samples, now: Samples) -> dict[object, tuple[float, float | None]]:
    return {key: (value, now.get(key)) for key, value in before.items() if now.get(key, -1) < value}


@contextmanager
def watched(tracer: Tracing, found: list[object]) -> Iterator[None]:
    """Scrape all the time meanwhile, and note what fell."""
    stop = threading.Event()

    def work() -> int:
        before: Samples = {}
        times = 0
        while not stop.is_set():
            now = rising(tracer.scrape())
            found.extend(fallen(before, now).items())
            before, times = now, times + 1
        found.extend(fallen(before, rising(tracer.scrape())).items())
        return times

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            yield
        finally:
            stop.set()
        assert working.result() > 1


def find_no_port(side: Namespace, port: int) -> None:
    """Have connect() find its port taken, after the socket has entered SYN_SENT."""
    with listening(side, ADDRESS, port) as listener, side.inside():
        for _ in range(TIMES):
            with socket.socket() as first, socket.socket() as second:
                for each in (first, second):
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                first.bind((ADDRESS, 0))
                second.bind(first.getsockname())
                first.connect((ADDRESS, port))
                with listener.accept()[0], pytest.raises(OSError, match=os.strerror(errno.EADDRNOTAVAIL)):
                    second.connect((ADDRESS, port))


def be_reset(side: Namespace, port: int) -> None:
    """Have servers abort connections with unread data, and clients send to servers that have closed."""
    with listening(side, ADDRESS, port) as listener:
        for _ in range(TIMES):
            with connect(side, ADDRESS, port) as client, listener.accept()[0]:
                client.send(b"unread")


def be_refused(side: Namespace, port: int) -> None:
    for _ in range(TIMES):
        refuse(side, ADDRESS, port)


def lose_packets(side: Namespace, port: int) -> None:
    chain = f"chain loss {{ type filter hook input priority 0; tcp dport {port} numgen random mod 8 0 drop; }}"
    side.run(tool("nft"), "-f", "-", text=f"table inet lossy {{ {chain}; }}")
    with listening(side, ADDRESS, port) as listener:
        talk(side, listener, ADDRESS, times=TIMES)


def test_nothing_that_counts_ever_falls(side: Namespace, churn: Path, port: int) -> None:
    found: list[object] = []
    with tracing("--netns", "own", side=side) as tracer, watched(tracer, found), ThreadPoolExecutor(5) as pool:
        work: list[tuple[Callable[..., object], tuple[object, ...]]] = [
            (side.run, (str(churn), str(WORKERS), str(CONNECTIONS))),
            (find_no_port, (side, port)),
            (be_reset, (side, port + 1000)),
            (lose_packets, (side, port + 2000)),
            (be_refused, (side, port + 3000)),
        ]
        for each in [pool.submit(action, *arguments) for action, arguments in work]:
            each.result()
    assert found == []


def test_attempts_without_a_port_leave_no_drift(side: Namespace, port: int) -> None:
    with tracing("--netns", "own", side=side) as tracer:
        find_no_port(side, port)
        tracer.wait_for_transitions({("syn_sent", "close"): TIMES})
        wait_for_audit(tracer)


def wait_for_audit(tracer: Tracing) -> None:
    """Wait for a look at both sides that includes all attempts, and finds no drift."""

    def agree() -> bool:
        scrape = tracer.scrape()
        both = [scrape.value(f"audit_{who}_total", counter="ActiveOpens") for who in ("kernel", "traced")]
        return both[0] == both[1] and (both[0] or 0) >= TIMES

    until(agree, "the audit has seen every attempt, and has no drift")
