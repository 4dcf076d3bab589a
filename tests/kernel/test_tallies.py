"""Connections of busy places, which the kernel counts by itself: every number is what records give, and the known one."""

from __future__ import annotations

import socket
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.kernel.net import SERVER, Link, Namespace
from tests.kernel.plenty import (
    EVERY,
    ORDERLY,
    Way,
    aborted,
    client_first,
    connections,
    exchange,
    load,
    reach,
    server_first,
    unread,
)
from tests.kernel.tracing import Scrape, Tracing, tracing
from tests.kernel.traffic import PING, PONG, listening
from tests.kernel.unreached import Hits, Unreached
from tests.kernel.until import until

ADDRESS = "127.0.0.1"
ROLES = ("client", "server")

WITH_RECORDS = ("--label", "process")
"""Whoever wants to know processes gets a record of every connection."""

DUMPS, MORE = 3, 5
"""Under load, and the connections that begin to stay open after each of them."""

WAITING = 600
"""Connections that leave a timewait object, half of them on the client's side."""

EQUAL = (
    *("handshakes_total", "connections_closed_total", "handshake_failures_total", "time_wait_entries_total", "connections"),
    *("sent_bytes_total", "received_bytes_total", "sent_segments_total", "received_segments_total"),
    *("out_of_order_segments_total", "srtt_seconds_bucket", "srtt_seconds_sum", "srtt_seconds_count"),
    *("handshake_duration_seconds_count", "connection_duration_seconds_count", "state_duration_seconds_count"),
)
KERNELS = ("handshake_duration_seconds_bucket", "handshake_duration_seconds_sum")
"""Of servers: what the kernel has measured. Of the rest each tracer has its own clock's times, and only their number is one."""

Numbers = dict[tuple[object, ...], float]


def numbers(scrape: Scrape) -> Numbers:
    """Return what two tracers of the same connections have to say alike, without the label that one of them has."""
    found: defaultdict[tuple[object, ...], float] = defaultdict(float)
    for (name, labels), value in scrape.samples.items():
        short, told = name.removeprefix("tcptrace_"), {pair for pair in labels if pair[0] != "process"}
        if short in EQUAL or (short in KERNELS and ("role", "server") in told):
            found[short, *sorted(told)] += value
    return {key: round(value, 6) for key, value in found.items() if value}


class Held:
    """Connections that stay open over dumps, and carry something between them. exchanges: in all, on all of them."""

    def __init__(self, listener: socket.socket, side: Namespace) -> None:
        self._listener, self._side = listener, side
        self.pairs: list[tuple[socket.socket, socket.socket]] = []
        self.opened = self.exchanges = 0

    def more(self) -> None:
        """Open some."""
        with self._side.inside():
            self.pairs += [reach(self._listener) for _ in range(MORE)]
        self.opened += MORE

    def talk(self) -> None:
        for pair in self.pairs:
            exchange(*pair)
        self.exchanges += len(self.pairs)

    def end(self, number: int) -> None:
        """End the oldest ones, in both orders."""
        for at, pair in enumerate(self.pairs[:number]):
            (client_first, server_first)[at % 2](*pair)
        del self.pairs[:number]


def wait_for_dump(tracers: tuple[Tracing, ...]) -> None:
    """Wait until each has looked at all sockets once more."""
    ages: dict[Tracing, float] = {}
    looked: set[Tracing] = set()

    def all_have() -> bool:
        for tracer in tracers:
            age = tracer.scrape().value("snapshot_age_seconds")
            if age is not None and age < ages.get(tracer, 0):
                looked.add(tracer)
            ages[tracer] = age or 0
        return len(looked) == len(tracers)

    until(all_have, "all sockets are looked at")


def expected(made: Counter[Way], held: Held, hits: Hits) -> dict[str, float]:
    """Return what is known of both sides together, less what reached no program."""
    count, edges = made.total() + held.opened, hits.transitions
    reset = made[aborted] + made[unread]
    exchanges = made.total() + held.exchanges
    return {
        "client handshakes": count - edges["syn_sent", "established"],
        "server handshakes": count - edges["syn_recv", "established"],
        "closes": 2 * count - hits.ends(),
        "resets": 2 * reset,
        "payload of clients": (exchanges + made[unread]) * len(PING),
        "payload of servers": exchanges * len(PONG),
    }


def told(scrape: Scrape) -> dict[str, float | None]:
    """Return the same of a tracer."""
    return {
        "client handshakes": scrape.value("handshakes_total", role="client"),
        "server handshakes": scrape.value("handshakes_total", role="server"),
        "closes": scrape.value("connections_closed_total"),
        "resets": sum(scrape.value("connections_closed_total", reason=f"reset_{way}") or 0 for way in ("sent", "received")),
        "payload of clients": scrape.value("received_bytes_total", role="server"),
        "payload of servers": scrape.value("received_bytes_total", role="client"),
    }


def test_what_the_kernel_counts_is_what_records_give(side: Namespace, port: int, unreached: Unreached) -> None:
    """Of short connections in every way there is, and of those that stay open while all sockets are looked at."""
    asked = ("--port", str(port))
    with (
        tracing(*asked, side=side) as counting,
        tracing(*asked, *WITH_RECORDS, side=side) as recording,
        listening(side, ADDRESS, port) as listener,
    ):
        tracers = (counting, recording)
        wait_for_dump(tracers)
        held = Held(listener, side)
        with load(side, listener, EVERY) as under_way:
            for _ in range(DUMPS):
                held.more()
                held.talk()
                wait_for_dump(tracers)
                held.end(MORE // 2)
        for tracer in tracers:
            until(lambda tracer=tracer: is_open(tracer.scrape(), len(held.pairs)), "what is held is open")  # type: ignore[misc]
        held.talk()
        held.end(len(held.pairs))
        wanted = expected(under_way.made, held, unreached.hits().at(port))
        for tracer in tracers:
            until(lambda tracer=tracer: is_open(tracer.scrape(), 0), "nothing is open")  # type: ignore[misc]
        scrapes = [tracer.scrape() for tracer in tracers]
    assert numbers(scrapes[0]) == numbers(scrapes[1])
    assert told(scrapes[0]) == wanted


def told_by_events(scrape: Scrape) -> Numbers:
    """Return what events tell of sockets in namespaces that are not looked at."""
    return {
        (name, *sorted(labels)): value
        for (name, labels), value in scrape.samples.items()
        if name in {"tcptrace_time_wait_sockets", "tcptrace_ephemeral_ports_used"} and ("seen", "events") in labels
    }


def test_in_a_namespace_that_only_events_tell_of_sockets_that_wait_and_ports_are_the_same(link: Link, port: int) -> None:
    """The threads that make the connections live elsewhere, so that nobody is found there."""
    asked = ("--port", str(port))
    with (
        tracing(*asked) as counting,
        tracing(*asked, *WITH_RECORDS) as recording,
        listening(link.server, SERVER[4], port) as listener,
        ThreadPoolExecutor(1) as pool,
    ):
        tracers = (counting, recording)
        wait_for_dump(tracers)
        made = pool.submit(from_there, link.client, listener).result()
        for tracer in tracers:
            until(lambda tracer=tracer: has_ended(tracer.scrape()), "all have ended")  # type: ignore[misc]
        scrapes = [tracer.scrape() for tracer in tracers]
    destination, netns = f"{SERVER[4]}:{port}", str(Path(link.client.path).stat().st_ino)
    ports, waiting = ({("destination", destination), ("seen", "events"), *more} for more in ([("netns", netns)], []))
    wanted = {
        ("tcptrace_ephemeral_ports_used", *sorted(ports)): made[client_first],
        ("tcptrace_time_wait_sockets", *sorted(waiting)): made.total(),
    }
    assert told_by_events(scrapes[0]) == told_by_events(scrapes[1]) == wanted


def from_there(side: Namespace, listener: socket.socket) -> Counter[Way]:
    with side.inside():
        return connections(listener, ORDERLY, WAITING)


def has_ended(scrape: Scrape) -> bool:
    return scrape.value("connections_closed_total") == 2 * WAITING


def is_open(scrape: Scrape, wanted: int) -> bool:
    return [scrape.value("connections", role=role) for role in ROLES] == [wanted, wanted]
