"""Scrapes as fast as they can be while connections come and go: each shows one moment, and nothing is lost for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.kernel.net import Namespace
from tests.kernel.tracing import Scrape, Tracing, tracing
from tests.kernel.traffic import listening, talk
from tests.kernel.until import PATIENCE, until

pytestmark = pytest.mark.needs("gcc")

ADDRESS = "127.0.0.1"
CONNECTIONS = 20_000
WORKERS = 2
SERVICES = 13
SCRAPERS = 4
AMID = 4
"""Scrapes that must have been taken while connections came and went."""

ROUNDS = 50
"""Of churn, at most, until there were so many: a fast machine is done with one before it has been scraped often."""


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
    """Over one connection: what closes just after that snapshot would be taken for an existing one that is still open."""
    with side.inside(), closing(HTTPConnection(tracer.address, timeout=PATIENCE)) as connection:
        until(lambda: b"tcptrace_sockets{" in get(connection), "the sockets were counted once")


def get(connection: HTTPConnection) -> bytes:
    connection.request("GET", "/metrics")
    return connection.getresponse().read()


@contextmanager
def scraping(side: Namespace, tracer: Tracing, scrapers: int, see: Callable[[bytes], object]) -> Iterator[list[int]]:
    """Have so many clients scrape meanwhile, each over one connection, and show what they get; yield how often each did."""
    stop = threading.Event()
    times = [0] * scrapers

    def work(number: int) -> None:
        with side.inside(), closing(HTTPConnection(tracer.address, timeout=PATIENCE)) as connection:
            while not stop.is_set():
                see(get(connection))
                times[number] += 1

    with ThreadPoolExecutor(scrapers) as pool:
        working = [pool.submit(work, number) for number in range(scrapers)]
        try:
            until(lambda: all(times) or any(each.done() for each in working), "each of them has scraped once")
            yield times
        finally:
            stop.set()
        for each in working:
            each.result()


def parsed(body: bytes) -> Scrape:
    samples = [sample for family in text_string_to_metric_families(body.decode()) for sample in family.samples]
    return Scrape({(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples})


def churn_until(side: Namespace, churn: Path, enough: Callable[[], bool]) -> int:
    """Make connections, and again until it is enough; return how many."""
    for rounds in range(1, ROUNDS + 1):
        side.run(str(churn), str(WORKERS), str(CONNECTIONS))
        if enough():
            return rounds * CONNECTIONS
    raise AssertionError(f"not enough after {ROUNDS} rounds of {CONNECTIONS} connections")


def test_scrapers_that_never_rest_cost_no_event(side: Namespace, tracer: Tracing, churn: Path) -> None:
    before = tracer.scrape().value("handshakes_total", role="client") or 0
    with scraping(side, tracer, SCRAPERS, len) as times:
        made = churn_until(side, churn, lambda: min(times) > 2)
    until(lambda: side.open_sockets() == 0, "every connection has ended, the scrapers' too")
    summary = tracer.stop()
    assert summary.document["events_lost"] == summary.document["connections_untracked"] == 0
    assert summary.count("handshakes", role="client") - before == made + SCRAPERS
    assert summary.count("closes", role="server") == summary.count("handshakes", role="server")


def test_every_scrape_is_of_one_moment(side: Namespace, tracer: Tracing, churn: Path) -> None:
    bodies: list[bytes] = []
    amid: dict[float, Scrape] = {}

    def take() -> bool:
        """Sort out what was scraped in a round, some forty of it; say whether enough of all that was amid its connections."""
        seen, bodies[:] = [parsed(body) for body in bodies[:: len(bodies) // 40 + 1]], []
        counts = {scrape.value("handshakes_total", role="client") or 0: scrape for scrape in seen}
        amid.update(
            {count: scrape for count, scrape in counts.items() if 100 < (count - at_rest) % CONNECTIONS < CONNECTIONS - 100}
        )
        return len(amid) >= AMID

    with scraping(side, tracer, 8, bodies.append):
        at_rest = tracer.scrape().value("handshakes_total", role="client") or 0
        bodies.clear()
        churn_until(side, churn, take)
    assert [disagreement for scrape in amid.values() for disagreement in disagreements(scrape)] == []


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
