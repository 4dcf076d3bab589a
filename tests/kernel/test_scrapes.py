"""Scrapes as fast as they can be while connections come and go: each shows one moment, and nothing is lost for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from itertools import count
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.kernel.net import Namespace
from tests.kernel.tracing import Scrape, Tracing, tracing
from tests.kernel.traffic import listening, talk
from tests.kernel.until import until

pytestmark = pytest.mark.needs("gcc")

ADDRESS = "127.0.0.1"
CONNECTIONS = 20_000
WORKERS = 2
SERVICES = 13
SCRAPERS = 4


@pytest.fixture(name="tracer")
def fixture_tracer(side: Namespace) -> Iterator[Tracing]:
    """Return a tracer of that namespace with some thousands of samples."""
    with tracing("--netns", "own", side=side) as tracer:
        wait_for_first_snapshot(side, tracer)
        for _ in range(SERVICES):
            with listening(side, ADDRESS) as listener:
                talk(side, listener, ADDRESS, times=1)
        yield tracer


def wait_for_first_snapshot(side: Namespace, tracer: Tracing) -> None:
    """Over one connection: what closes just after that snapshot would be taken for older than the tracer, and still open."""
    with side.inside(), closing(HTTPConnection(tracer.address, timeout=60)) as connection:
        until(lambda: b"tcptrace_sockets{" in get(connection), "the sockets were counted once")


def get(connection: HTTPConnection) -> bytes:
    connection.request("GET", "/metrics")
    return connection.getresponse().read()


@contextmanager
def scraping(side: Namespace, tracer: Tracing, scrapers: int, see: Callable[[bytes], object]) -> Iterator[None]:
    """Have so many clients scrape meanwhile, each over one connection, and show what they get."""
    stop = threading.Event()

    def work() -> int:
        times = 0
        with side.inside(), closing(HTTPConnection(tracer.address, timeout=60)) as connection:
            while not stop.is_set():
                see(get(connection))
                times += 1
        return times

    with ThreadPoolExecutor(scrapers) as pool:
        working = [pool.submit(work) for _ in range(scrapers)]
        try:
            yield
        finally:
            stop.set()
        assert all(each.result() > 1 for each in working)


def parsed(body: bytes) -> Scrape:
    samples = [sample for family in text_string_to_metric_families(body.decode()) for sample in family.samples]
    return Scrape({(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples})


def test_scrapers_that_never_rest_cost_no_event(side: Namespace, tracer: Tracing, churn: Path) -> None:
    before = tracer.scrape().value("handshakes_total", role="client") or 0
    with scraping(side, tracer, SCRAPERS, len):
        side.run(str(churn), str(WORKERS), str(CONNECTIONS))
    until(lambda: side.open_sockets() == 0, "every connection has ended, the scrapers' too")
    summary = tracer.stop()
    assert summary.document["events_lost"] == summary.document["connections_untracked"] == 0
    assert summary.count("handshakes", role="client") - before == CONNECTIONS + SCRAPERS
    assert summary.count("closes", role="server") == summary.count("handshakes", role="server")


def test_every_scrape_is_of_one_moment(side: Namespace, tracer: Tracing, churn: Path) -> None:
    bodies: list[bytes] = []
    numbers = count()

    def keep_some(body: bytes) -> None:
        if next(numbers) % 10 == 0:
            bodies.append(body)

    with scraping(side, tracer, 8, keep_some):
        side.run(str(churn), str(WORKERS), str(CONNECTIONS))
    during = [scrape for scrape in map(parsed, bodies[:: len(bodies) // 40 + 1]) if is_amid(scrape)]
    assert len(during) > 3
    assert [disagreement for scrape in during for disagreement in disagreements(scrape)] == []


def is_amid(scrape: Scrape) -> bool:
    return 100 < (scrape.value("handshakes_total", role="client") or 0) < CONNECTIONS


def disagreements(scrape: Scrape) -> Iterator[str]:
    """Yield what does not add up; all of these are of connections that began under the tracer's eyes."""
    value = scrape.value
    handshakes, closes = value("handshakes_total"), value("connections_closed_total")
    assert handshakes is not None
    assert closes is not None
    equal = {
        "connections = handshakes - closes": (value("connections"), handshakes - closes),
        "events of handshakes": (value("events_total", kind="handshake"), handshakes),
        "events of closes": (value("events_total", kind="close"), closes),
        "durations of closes": (value("connection_duration_seconds_count"), closes),
        "failures": (value("handshake_failures_total"), 0),
        "partial": (value("connections_partial_total"), 0),
    }
    yield from (f"{name}: {one} and {other}" for name, (one, other) in equal.items() if one != other)
    times = value("handshake_duration_seconds_count") or 0
    if not 0 < times <= handshakes:  # fewer where the kernel has no honest value
        yield f"times of handshakes: {times} and {handshakes}"
