"""What a host costs the Prometheus that scrapes it: measured with twenty made-up hosts, computed for a thousand.

The hosts are models in this process, each behind a server of its own; between two scrapes their connections go on.
Prometheus is Debian's; it tells its own memory and series, and writes what it has to disk when it is asked to.
"""

from __future__ import annotations

import gzip
import json
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from tests.bench.scrape import HOST, STATES
from tests.bench.tables import show
from tests.e2e.server import Prometheus, prometheus
from tests.unit.model.builder import CONTEXT, SECOND, events, reading
from tracer.commands.optiongroups import SeriesOptions
from tracer.ingest.decode import Events
from tracer.ingest.source import Program
from tracer.model.report import Report
from tracer.model.totals import Model
from tracer.outputs.budget import Budget
from tracer.outputs.prometheus import render
from tracer.outputs.web.http import serve
from tracer.outputs.web.listening import bind

HOSTS = 20
SERVICES = 10
SECONDS = 60
INTERVAL = 0.5
MANY, EVERY, DAYS = 1_000, 15, 15
"""Hosts, seconds between scrapes and days kept, for which the rest is computed."""

PROGRAMS = ("inet_sock_set_state", "tcp_retransmit_skb", "tcp_retransmit_synack", "tcp_send_reset", "tcp_receive_reset")


WAYS = ("close syn_sent established fin_wait1 fin_wait2 close", "close listen syn_recv established close_wait last_ack close")
EDGES = [(old, new) for way in WAYS for old, new in pairwise(way.split())]


class MadeUpHost:
    """A host with traffic on some services. report: after a little more of it."""

    def __init__(self, services: int, seed: int = 0) -> None:
        self._services = services
        self._model = Model(CONTEXT, start_ns=0)
        self._random = np.random.default_rng(seed)
        self._time_ns = 0
        self._count = 0

    def report(self) -> Report:
        """Return a report; one host is asked by one thread at a time."""
        self._time_ns += SECOND
        self._count += int(self._random.integers(100, 300))
        programs = tuple(Program(name, attached=True, runs=0, run_seconds=0.0, misses=0) for name in PROGRAMS)
        self._model.add(
            reading(
                *(batch for service in range(self._services) for batch in self._traffic(service)),
                time_ns=self._time_ns,
                cells={"events_lost": 0, "untracked": 0, "partial": 4},
                transitions=dict.fromkeys(EDGES, self._count),
                programs=programs,
                sockets={state: int(self._random.integers(0, 100)) for state in ("established", "time_wait", "close_wait")},
            )
        )
        return self._model.report()

    def _traffic(self, service: int) -> Iterator[Events]:
        role, count = ("client", "server")[service % 2], int(self._random.integers(5, 50))
        times = (self._random.lognormal(0, 1, count) * 1e6).astype(np.uint64)
        yield events("handshake", count, role=role, port=1000 + service, handshake_ns=times)
        yield events(
            "close",
            count,
            role=role,
            port=1000 + service,
            state_ns=STATES,
            srtt_us=times // 20,
            duration_ns=times * 1000,
            sent_bytes=int(self._random.integers(1000, 100_000)),
        )


@dataclass(frozen=True)
class Cost:
    """What one host of the measured kind is. series: in memory; chunk_bytes: on disk, a sample; index_bytes: a series."""

    series: float
    memory_bytes: float
    chunk_bytes: float
    index_bytes: float


def fleet() -> None:
    """Print the tables."""
    packed = show_hosts()
    cost = measured()
    show_cost(cost)
    show_many(cost, packed)


def show_hosts() -> int:
    """Print what a scrape of a host is, and return the packed bytes of the kind that is measured."""
    kinds = {
        "without traffic": MadeUpHost(0),
        f"{SERVICES} services": MadeUpHost(SERVICES),
        "--max-series reached": MadeUpHost(100),
    }
    rows, lengths = [], {}
    for name, host in kinds.items():
        budget = Budget(SeriesOptions().max_series)
        budget.of(host.report())
        body = render(budget.of(host.report()))
        samples = sum(not line.startswith(b"#") for line in body.splitlines())
        lengths[name] = len(gzip.compress(body, 1))
        rows.append([name, f"{samples:,}", f"{len(body):,}", f"{lengths[name]:,}"])
    show("Fleet: one scrape of a host", ["host", "samples", "bytes", "with gzip"], rows, "A service: one role and port.")
    return lengths[f"{SERVICES} services"]


def measured() -> Cost:
    """Return what Prometheus makes of the hosts."""
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        targets = [stack.enter_context(served(MadeUpHost(SERVICES, number).report)) for number in range(HOSTS)]
        (place / "idle").mkdir()
        with prometheus(place / "idle") as server:
            time.sleep(5)
            idle = figures(server)["process_resident_memory_bytes"]
        flags = ("--web.enable-admin-api",)
        server = stack.enter_context(prometheus(place, *targets, interval=f"{INTERVAL * 1e3:.0f}ms", flags=flags))
        server.wait_until_up(HOSTS)
        time.sleep(SECONDS)
        found = figures(server)
        series = found["prometheus_tsdb_head_series"]
        memory = (found["process_resident_memory_bytes"] - idle) / HOSTS
        samples, chunks, index = written(server, place)
    return Cost(series / HOSTS, memory, chunks / samples, index / series)


@contextmanager
def served(report: Callable[[], Report]) -> Iterator[str]:
    """Yield the address at which a host is scraped."""
    server = serve(bind(f"{HOST}:0"), report, lambda: True)
    try:
        yield server.address
    finally:
        server.close()


def figures(server: Prometheus) -> dict[str, float]:
    """Return Prometheus's own metrics, those without labels."""
    with urllib.request.urlopen(f"http://{server.address}/metrics", timeout=30) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return {sample.name: sample.value for family in families for sample in family.samples if not sample.labels}


def written(server: Prometheus, place: Path) -> tuple[int, int, int]:
    """Have all that is in memory written to disk; return the samples, and the bytes of the chunks and of the index."""
    request = urllib.request.Request(f"http://{server.address}/api/v1/admin/tsdb/snapshot", method="POST")
    urllib.request.urlopen(request, timeout=120).close()
    (block,) = (path.parent for path in (place / "data/snapshots").glob("*/*/meta.json"))
    samples = json.loads((block / "meta.json").read_text(encoding="utf-8"))["stats"]["numSamples"]
    return samples, sum(size(file) for file in (block / "chunks").iterdir()), size(block / "index")


def size(path: Path) -> int:
    return path.stat().st_size


def show_cost(cost: Cost) -> None:
    """Print what was measured."""
    rows = [
        ["series in memory, a host", f"{cost.series:,.0f}"],
        ["resident memory, a host", f"{cost.memory_bytes / 1e6:.1f} MB"],
        ["resident memory, a series", f"{cost.memory_bytes / cost.series / 1e3:.1f} kB"],
        ["disk, a sample", f"{cost.chunk_bytes:.2f} bytes"],
        ["disk, a series in a block of two hours", f"{cost.index_bytes:.0f} bytes"],
    ]
    show(
        f"Measured: {HOSTS} hosts of {SERVICES} services, scraped every {INTERVAL:g} s for {SECONDS} s",
        ["Prometheus", "figure"],
        rows,
    )


def show_many(cost: Cost, packed: int) -> None:
    """Print what follows for many hosts."""
    rate = MANY * cost.series / EVERY
    blocks = DAYS * 24 / 2
    disk = rate * 86_400 * DAYS * cost.chunk_bytes + blocks * MANY * cost.series * cost.index_bytes
    rows: Sequence[Sequence[str]] = [
        ["series", f"{MANY * cost.series / 1e6:.2f} million"],
        ["resident memory", f"{MANY * cost.memory_bytes / 1e9:.1f} GB"],
        ["samples a second", f"{rate:,.0f}"],
        ["network", f"{MANY * packed / EVERY / 1e6:.1f} MB/s"],
        [f"disk for {DAYS} days", f"{disk / 1e9:.0f} GB"],
    ]
    show(
        f"Computed from it: {MANY:,} such hosts, scraped every {EVERY} s",
        ["Prometheus", "figure"],
        rows,
        "disk: with an index in every two hours' block; merging blocks, as Prometheus does, leaves less of those.",
    )
