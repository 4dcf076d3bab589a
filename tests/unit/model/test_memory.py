"""What is held in memory, and for what: the figures of docs/truth.md, by what Python and numpy have allocated."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.unit.model.builder import CONTEXT, SECOND, events, reading
from tests.unit.model.dumps import OWN, dump, sockets
from tests.unit.model.test_ledger import NETNS, connection, dump as figures_of
from tracer.ingest.figures import OPEN
from tracer.ingest.openrows import BEFORE
from tracer.ingest.ports import EphemeralPorts
from tracer.model.connections import OpenConnections
from tracer.model.labels import LabelSets
from tracer.model.sockets import Summarizer
from tracer.model.tallies import Tallies
from tracer.model.totals import Model

SETS, SOCKETS, CONNECTIONS, NAMESPACES = 2048, 100_000, 10_000, 1000


def taken(work: Callable[[], Any]) -> tuple[int, int]:
    """Return how many bytes something has left allocated, and how many it had at most meanwhile."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = work()
        after, most = tracemalloc.get_traced_memory()
        del kept
        return after - before, most - before
    finally:
        tracemalloc.stop()


def test_a_label_set_takes_ten_kilobytes() -> None:
    sets = LabelSets()
    tallies = Tallies(OpenConnections(sets), sets)
    assert 8_000 < taken(lambda: tallies.reserve(SETS))[0] / SETS < 10_000


def test_a_socket_of_a_dump_takes_two_hundred_bytes_until_all_are_summed_up() -> None:
    found, summarize = dump(sockets("time_wait", n=SOCKETS)), Summarizer()
    summarize(found)
    left, most = taken(lambda: summarize(found))
    assert (found.sockets.nbytes + most) / SOCKETS < 200
    assert left < 20_000


def test_a_namespace_of_a_dump_takes_half_a_kilobyte_until_all_are_summed_up() -> None:
    ports = {OWN + number: EphemeralPorts(32768, 60999) for number in range(NAMESPACES)}
    found, summarize = dump(sockets("established", n=NAMESPACES), ports=ports), Summarizer()
    found.sockets["netns"] = list(ports)
    summarize(found)
    assert taken(lambda: summarize(found))[1] / NAMESPACES < 500


def test_an_open_connection_takes_four_hundred_bytes() -> None:
    one = connection(sent_bytes=401)
    table = np.repeat(one, CONNECTIONS)
    table["cookie"] = table["key"] = np.arange(CONNECTIONS)
    snapshot, model = figures_of(table, at=1), Model(CONTEXT, start_ns=0)
    left, _ = taken(lambda: model.add(reading(snapshot=snapshot, time_ns=2 * SECOND)))
    assert (left + (OPEN.itemsize + BEFORE.itemsize) * CONNECTIONS) / CONNECTIONS < 400


def test_a_connection_of_the_last_records_takes_a_hundred_bytes_until_the_next_dump() -> None:
    ports = np.arange(1, CONNECTIONS + 1)
    batches = [events(kind, n=CONNECTIONS, local_port=ports, netns=NETNS, time_ns=SECOND) for kind in ("handshake", "close")]
    model = Model(CONTEXT, start_ns=0)
    model.add(reading(*batches, snapshot=figures_of(at=0)))

    def counted_and_listed() -> None:
        model.add(reading(*batches, time_ns=2 * SECOND))
        lately.append(tracemalloc.get_traced_memory()[0])
        model.add(reading(snapshot=replace(figures_of(at=60), open=()), time_ns=61 * SECOND))

    lately: list[int] = []
    left, _ = taken(counted_and_listed)
    assert (lately[0] - left) / CONNECTIONS < 100
    assert left < 20_000
