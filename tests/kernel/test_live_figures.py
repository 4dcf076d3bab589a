"""What open connections carry, counted while they are open: to the byte, once, and never less than before."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from tests.kernel.ends import abort
from tests.kernel.net import SERVER, Link
from tests.kernel.scene import exchange
from tests.kernel.tracing import Scrape, Tracing, tracing
from tests.kernel.traffic import Peer, connect, listening
from tests.kernel.until import until

pytestmark = pytest.mark.needs("nft")

CONNECTIONS = 230
LARGEST = 20_000
SEED = 1515
EVERY, SCRAPES, ROUNDS = 0.2, 5, 5
RISING = ("_total", "_count", "_bucket", "_sum")
ROLES = ("client", "server")
BYTES = ("sent_bytes", "received_bytes")
Sums = dict[tuple[str, str], float]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass
class Traffic:
    """Connections, both ends of each, and what they have carried: from client to server (up), and back (down)."""

    link: Link
    listener: socket.socket
    pairs: list[tuple[socket.socket, socket.socket]] = field(default_factory=list)
    up: int = 0
    down: int = 0
    random: random.Random = field(default_factory=lambda: random.Random(SEED))

    def open(self, count: int) -> None:
        """Open connections of both families, by turns."""
        for number in range(count):
            client = connect(self.link.client, SERVER[4 + number % 2 * 2], self.listener.getsockname()[1])
            self.pairs.append((client, self.listener.accept()[0]))

    def carry(self) -> None:
        """Have each connection carry something both ways."""
        for client, server in self.pairs:
            up, down = self.random.randrange(1, LARGEST), self.random.randrange(1, LARGEST)
            exchange(client, server, up)
            exchange(server, client, down)
            self.up, self.down = self.up + up, self.down + down

    def close(self, count: int) -> None:
        """Close some: every third with a reset."""
        for number, (client, server) in enumerate(self.pairs[:count]):
            if number % 3:
                client.close()
                assert server.recv(1) == b""
            else:
                abort(client)
            server.close()
        del self.pairs[:count]

    @property
    def expected(self) -> Sums:
        """What both sides' counters should have."""
        both = {"client": (self.up, self.down), "server": (self.down, self.up)}
        return {(role, name): value for role in ROLES for name, value in zip(BYTES, both[role], strict=True)}


def sums(scrape: Scrape) -> Sums:
    return {(role, name): scrape.value(f"{name}_total", role=role) or 0 for role in ROLES for name in BYTES}


def wait_for(tracer: Tracing, wanted: Sums) -> Scrape:
    """Return the scrape in which the counters are as wanted; fails at once when there is more in one."""

    def look() -> Scrape | None:
        scrape = tracer.scrape()
        found = sums(scrape)
        assert all(found[key] <= value for key, value in wanted.items()), (found, wanted)
        return scrape if found == wanted else None

    found = until(look, f"the counters are {wanted}")
    assert found is not None
    return found


def wait_for_dump(tracer: Tracing) -> None:
    """Wait for a dump of all sockets that begins from now on."""
    start = time.monotonic()

    def is_newer() -> bool:
        scrape = tracer.scrape()
        age, took = (scrape.value(f"snapshot_{name}_seconds") or 0 for name in ("age", "duration"))
        return time.monotonic() - age - took > start

    until(is_newer, "there is a newer dump")


def test_open_connections_are_counted_to_the_byte_while_they_are_open_and_the_same_after_their_end(
    link: Link, port: int
) -> None:
    with (
        Peer(link.client),  # who live in the namespaces, so that these are found
        Peer(link.server),
        listening(link.server, "::", port) as listener,
        tracing("--port", str(port), "--label", "peer") as tracer,
    ):
        traffic = Traffic(link, listener)
        traffic.open(CONNECTIONS)
        traffic.carry()
        wait_for(tracer, traffic.expected)
        traffic.carry()
        live = wait_for(tracer, traffic.expected)
        for name in ("sent_segments", "received_segments"):
            ends = [live.value(f"{name}_total", role=role) or 0 for role in ROLES]
            assert min(ends) >= 4 * CONNECTIONS
        assert live.value("sent_segments_total", role="client") == live.value("received_segments_total", role="server")
        traffic.close(CONNECTIONS)
        until(lambda: tracer.scrape().value("connections_closed_total") == 2 * CONNECTIONS, "all have ended")
        after = sums(tracer.scrape())
        wait_for_dump(tracer)
        assert sums(tracer.scrape()) == after == traffic.expected


def test_connections_older_than_the_tracer_count_from_the_first_dump_on(link: Link, port: int) -> None:
    with Peer(link.client), Peer(link.server), listening(link.server, "::", port) as listener:
        traffic = Traffic(link, listener)
        traffic.open(23)
        traffic.carry()
        traffic.up = traffic.down = 0
        with tracing("--port", str(port)) as tracer:
            until(lambda: tracer.scrape().value("connections", role="server") == 23, "all were found")
            assert set(sums(tracer.scrape()).values()) == {0}
            traffic.carry()
            wait_for(tracer, traffic.expected)
            traffic.carry()
            traffic.close(23)
            until(lambda: tracer.scrape().value("connections_closed_total") == 2 * 23, "all have ended")
            assert sums(tracer.scrape()) == traffic.expected


@contextmanager
def scraped(tracer: Tracing, fallen: list[object]) -> Iterator[list[int]]:
    """Scrape every 0.2 s meanwhile, and note every counter that fell or went away; yields a list with how often, so far."""
    stop, times = threading.Event(), [0]

    def work() -> None:
        before: Samples = {}
        while not stop.wait(EVERY):
            now = {key: value for key, value in tracer.scrape().samples.items() if key[0].endswith(RISING)}
            fallen.extend((key, value, now.get(key)) for key, value in before.items() if now.get(key, -1) < value)
            before, times[0] = now, times[0] + 1

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            yield times
        finally:
            stop.set()
        working.result()


def test_no_counter_falls_in_a_scrape_every_fifth_of_a_second_through_opens_closes_resets_and_a_restart_of_half(
    link: Link, port: int
) -> None:
    fallen: list[object] = []
    opened = CONNECTIONS + ROUNDS * (CONNECTIONS // 2)
    with (
        Peer(link.client),
        Peer(link.server),
        listening(link.server, "::", port) as listener,
        tracing("--port", str(port), "--label", "process,netns") as tracer,
    ):
        traffic = Traffic(link, listener)
        traffic.open(CONNECTIONS)
        with scraped(tracer, fallen) as times:
            for _ in range(ROUNDS):
                seen = times[0]
                traffic.carry()
                traffic.close(CONNECTIONS // 2)
                traffic.open(CONNECTIONS // 2)
                while times[0] < seen + SCRAPES:
                    traffic.carry()
            traffic.close(CONNECTIONS)
            until(lambda: tracer.scrape().value("connections_closed_total") == 2 * opened, "all have ended")
        assert sums(tracer.scrape()) == traffic.expected
    assert fallen == []
