"""A full ring, a full table, a tracer that stands still: details are lost, totals never, and the loss is what is missing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from tests.kernel.beginnings import restore, resume, save
from tests.kernel.net import Namespace
from tests.kernel.tracing import Scrape, Tracing, tracing
from tests.kernel.traffic import connect, listening
from tests.kernel.until import until
from tracer.ingest.livesource import LiveSource
from tracer.kernel.filters import Filters
from tracer.kernel.launch import load_programs
from tracer.kernel.settings import Settings
from tracer.model.tcp import CELL, ROLE
from tracer.model.unrecorded import WHAT

pytestmark = pytest.mark.needs("gcc")

CONNECTIONS = 20_000
WORKERS = 2
RING_BYTES = 65_536
ENTRIES = 4
STOPPED_SECONDS = 10

Sums = dict[str, int]


@contextmanager
def small(side: Namespace, ring_bytes: int = 0, connections: int = 0) -> Iterator[Tracing]:
    """Yield a tracer of a namespace with a small ring or table."""
    command = (sys.executable, "-m", "tests.kernel.small", str(ring_bytes), "run", "--listen", "127.0.0.1:0", "--json")
    table = ("--max-connections", str(connections)) if connections else ()
    with tracing("--netns", "own", *table, side=side, command=command) as tracer:
        yield tracer


def kernel_sums(scrape: Scrape) -> Sums:
    """Return what the changes of state, which are counted exactly, say of all connections together."""
    edges = scrape.transitions
    return {
        "handshakes": sum(n for (_, new), n in edges.items() if new == "established"),
        "failures": sum(edges.get((old, "close"), 0) for old in ("syn_sent", "syn_recv")),
        "closes": sum(n for (old, new), n in edges.items() if new == "close" and old not in {"syn_sent", "syn_recv", "listen"}),
    }


def sums(scrape: Scrape, **labels: str) -> Sums:
    """Return the same, of the metrics with these labels."""
    names = {"handshakes": "handshakes_total", "failures": "handshake_failures_total", "closes": "connections_closed_total"}
    return {what: int(scrape.value(name, **labels) or 0) for what, name in names.items()}


def unrecorded(scrape: Scrape) -> int:
    """Return how many records are missing, by what is counted without a port."""
    resets = ("resets_sent_total", "resets_received_total", "retransmitted_segments_total")
    return sum(sums(scrape, port="other").values()) + sum(int(scrape.value(name, port="other") or 0) for name in resets)


def run_churn(side: Namespace, churn: Path, held: int = 0) -> dict[str, int]:
    """Make the connections, wait for their ends, and return what the kernel counted of them."""
    before = side.counters()
    side.run(str(churn), str(WORKERS), str(CONNECTIONS))
    until(lambda: side.open_sockets() == held, "every connection has ended")
    after = side.counters()
    return {name: after[name] - before[name] for name in ("ActiveOpens", "PassiveOpens")}


def assert_exact(scrape: Scrape, kernel: dict[str, int], scrapes: int) -> None:
    """All sums are the kernel's; a scrape is a connection too."""
    assert sums(scrape) == kernel_sums(scrape)
    assert scrape.value("handshakes_total", role="client") == kernel["ActiveOpens"] + scrapes
    assert scrape.value("handshakes_total", role="server") == kernel["PassiveOpens"] + scrapes


def open_besides(scrape: Scrape, tracer: Tracing) -> int:
    """Return the open connections of all services but the tracer's own, which the scrape itself uses."""
    own = ("port", tracer.address.rpartition(":")[2])
    found = [value for (name, labels), value in scrape.samples.items() if name == "tcptrace_connections" and own not in labels]
    return int(sum(found))


QUIET_SECONDS = 2.5
"""A scrape opens a connection of its own: a dump has to come in between that finds nothing opening or closing."""


def wait_for_gauge(tracer: Tracing, wanted: int) -> Scrape:
    """Wait for a dump that has the gauge right; return that scrape."""
    found: list[Scrape] = []

    def right() -> bool:
        time.sleep(QUIET_SECONDS)
        found.append(tracer.scrape())
        return open_besides(found[-1], tracer) == wanted

    until(right, f"{wanted} connections are open")
    return found[-1]


def test_a_full_ring_costs_details_and_no_total(side: Namespace, churn: Path) -> None:
    with small(side, ring_bytes=RING_BYTES) as tracer:
        kernel = run_churn(side, churn)
        scrape = tracer.scrape()
        assert_exact(scrape, kernel, 1)
        assert int(scrape.value("events_lost_total") or 0) == unrecorded(scrape) > CONNECTIONS / 10
        assert scrape.value("connections_untracked_total") == 0
        wait_for_gauge(tracer, 0)


def test_a_full_table_costs_details_and_no_total(side: Namespace, churn: Path) -> None:
    with small(side, connections=ENTRIES) as tracer, holding(side, 2 * ENTRIES):
        held = 2 * ENTRIES
        kernel = run_churn(side, churn, held=2 * held)
        scrape = tracer.scrape()
        assert_exact(scrape, {name: count + held for name, count in kernel.items()}, 1)
        assert scrape.value("events_lost_total") == 0
        assert scrape.value("connections_partial_total") == 0
        everything = 2 * (CONNECTIONS + held + 1)
        assert scrape.value("connections_untracked_total") == everything - ENTRIES
        wait_for_gauge(tracer, 2 * held)


@contextmanager
def holding(side: Namespace, connections: int) -> Iterator[None]:
    """Have so many connections open, from a process of its own, that stay for as long as this lasts."""
    script = (
        "import socket, sys; n = int(sys.argv[1]); listener = socket.create_server(('127.0.0.1', 0))\n"
        "ends = [(socket.create_connection(listener.getsockname()), listener.accept()[0]) for _ in range(n)]\n"
        "print('held', flush=True); sys.stdin.read()\n"
    )
    command = side.command(sys.executable, "-c", script, str(connections))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        try:
            yield
        finally:
            process.kill()


def test_a_tracer_that_was_stopped_has_all_totals(side: Namespace, churn: Path) -> None:
    with tracing("--netns", "own", side=side) as tracer:
        os.kill(tracer.pid, signal.SIGSTOP)
        start, kernel = time.monotonic(), {"ActiveOpens": 0, "PassiveOpens": 0}
        while time.monotonic() < start + STOPPED_SECONDS:
            for name, count in run_churn(side, churn).items():
                kernel[name] += count
        os.kill(tracer.pid, signal.SIGCONT)
        scrape = tracer.scrape()
        assert_exact(scrape, kernel, 1)
        assert int(scrape.value("events_lost_total") or 0) == unrecorded(scrape) > 0
        wait_for_gauge(tracer, 0)


def test_a_restored_connection_that_finds_no_room_is_no_handshake(side: Namespace, service: int) -> None:
    settings = Settings(Filters(ports=(service,), role="client"), max_connections=ENTRIES)
    with closing(LiveSource(load_programs(settings))) as source, ExitStack() as stack:
        listener = stack.enter_context(listening(side, "127.0.0.1", service))
        for _ in range(ENTRIES):
            stack.enter_context(connect(side, "127.0.0.1", service))
            stack.enter_context(listener.accept()[0])
        client = connect(side, "127.0.0.1", service)
        server = stack.enter_context(listener.accept()[0])
        assert unrecorded_of(source) == {"handshake": 1, "close": 0}
        saved = save(client)
        client = stack.enter_context(restore(side, saved))
        resume(client)
        client.sendall(b"ping")
        assert server.recv(4) == b"ping"
        assert unrecorded_of(source) == {"handshake": 1, "close": 1}


def unrecorded_of(source: LiveSource) -> dict[str, int]:
    """Return what the kernel counted of clients without a record."""
    reading = source.read()
    assert reading is not None
    return {what: int(reading.cells[CELL["unrecorded"] + WHAT[what] * 3 + ROLE["client"]]) for what in ("handshake", "close")}


def test_the_reader_of_a_ring_is_woken_before_it_is_full_and_not_for_every_record(side: Namespace, service: int) -> None:
    settings = Settings(Filters(ports=(service,)), ring_bytes=RING_BYTES)
    with closing(LiveSource(load_programs(settings))) as source, listening(side, "127.0.0.1", service) as listener:
        while source.filling.poll(0):  # each CPU's first records wake it
            connect_once(side, listener, service)
        connections = 0
        while not source.filling.poll(0.001):
            connect_once(side, listener, service)
            connections += 1
        records = source.read()
        assert records is not None
        assert connections > 0
        assert 0 < records.events.nbytes < RING_BYTES * 3 / 4


def connect_once(side: Namespace, listener: socket.socket, port: int) -> None:
    """Open a connection and close it on both sides."""
    with connect(side, "127.0.0.1", port), listener.accept()[0]:
        pass
