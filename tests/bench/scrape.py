"""What a scrape of 5,000 samples takes, beside the server that prometheus-client brings along; and how regularly the ring is
read meanwhile.

Both servers show the same model to the same client. For the second table `tcptrace run` notes when it looked at the ring.
"""

from __future__ import annotations

import gzip
import http.client
import json
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import trustme
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from tests.bench.cost import compile_churn
from tests.bench.tables import show
from tests.kernel import net
from tests.kernel.tracing import Tracing, tracing
from tests.kernel.traffic import listening, talk
from tests.unit.model.builder import CONTEXT, events, reading
from tracer.model.totals import Model
from tracer.outputs.prometheus import ReportCollector
from tracer.outputs.web.access import Access
from tracer.outputs.web.http import serve
from tracer.outputs.web.listening import bind

HOST = "127.0.0.1"
PORT = 7919
SAMPLES = 5_000
STATES = {"syn_sent": 33_000, "established": 5_000_000, "fin_wait1": 20_000, "fin_wait2": 30_000}
CONNECTIONS = 60_000
SERVICES = 18
"""So many that with both roles of each there are about 5,000 samples."""


@dataclass(frozen=True)
class Scrapes:
    """Some answers of one server. length: bytes of a body as it was sent."""

    seconds: Sequence[float]
    samples: int
    length: int

    def cells(self) -> list[str]:
        """Return the cells of a table's row."""
        times = (median(self.seconds), max(self.seconds))
        return [f"{self.samples:,}", f"{self.length:,}", *(f"{value * 1e3:.1f}" for value in times)]


def large_model() -> Model:
    """Return a model with as many series as show in about 5,000 samples."""
    model = Model(CONTEXT)
    for port in range(1, 44):
        model.add(
            reading(
                events("handshake", port=port, handshake_ns=1_000_000),
                events("failure", port=port, from_state="syn_sent", error=111),
                events("close", port=port, state_ns=STATES, srtt_us=40, duration_ns=5_083_000),
                events("retransmit", port=port, retransmit_kind="timeout", segments=1),
                transitions={("close", "syn_sent"): port},
            )
        )
    return model


def connect(address: str, context: ssl.SSLContext | None = None) -> http.client.HTTPConnection:
    """Return a connection to HOST:PORT, over TLS with a context."""
    if context:
        return http.client.HTTPSConnection(address, timeout=60, context=context)
    return http.client.HTTPConnection(address, timeout=60)


def get(connection: http.client.HTTPConnection, coding: str = "gzip") -> bytes:
    """Return the body of /metrics as it was sent."""
    connection.request("GET", "/metrics", headers={"Accept-Encoding": coding})
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, body
    return body


def scrapes(times: int, address: str, coding: str, context: ssl.SSLContext | None) -> Scrapes:
    """Scrape some times over connections that the server may keep."""
    seconds, body = [], b""
    with closing(connect(address, context)) as connection:
        for _ in range(times):
            begin = time.perf_counter()
            body = get(connection, coding)
            seconds.append(time.perf_counter() - begin)
    lines = (gzip.decompress(body) if coding == "gzip" else body).splitlines()
    return Scrapes(seconds, sum(not line.startswith(b"#") for line in lines), len(body))


@contextmanager
def ours(model: Model, pair: Path | None) -> Iterator[str]:
    """Yield the address of tcptrace's server; over TLS with a file that has key and certificate."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if pair else None
    if tls and pair:
        tls.load_cert_chain(pair)
    server = serve(bind(f"{HOST}:0"), model.report, lambda: True, access=Access(tls=tls))
    try:
        yield server.address
    finally:
        server.close()


@contextmanager
def stock(model: Model, pair: Path | None) -> Iterator[str]:
    """Yield the address of prometheus-client's server, with the same collector."""
    registry = CollectorRegistry()
    registry.register(Current(model))
    file = str(pair) if pair else None
    server, thread = start_http_server(0, HOST, registry, file, file)
    try:
        yield f"{HOST}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Current(Collector):
    """Collects from the model's newest report."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._process = ProcessCollector(registry=CollectorRegistry())

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        yield from ReportCollector(self._model.report(), self._process).collect()


SERVERS: dict[str, Callable[[Model, Path | None], AbstractContextManager[str]]] = {"tcptrace": ours, "prometheus-client": stock}
FORMS = (("plain", "identity", False), ("gzip", "gzip", False), ("gzip, TLS", "gzip", True))


def scrape(rounds: int) -> None:
    """Print both tables."""
    with tempfile.TemporaryDirectory() as name:
        show_cost(4 * rounds, Path(name))
        show_draining(Path(name))


def show_cost(times: int, place: Path) -> None:
    """Print what a scrape takes of each server, in each form."""
    model, authority, pair = large_model(), trustme.CA(), place / "pair.pem"
    authority.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(str(pair))
    client = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    rows = []
    for name, server in SERVERS.items():
        for form, coding, secure in FORMS:
            with server(model, pair if secure else None) as address:
                found = scrapes(times, address, coding, client if secure else None)
            rows.append([f"{name}, {form}", *found.cells()])
    show(
        f"Scrape: /metrics from request to last byte, medians of {times}",
        ["server", "samples", "bytes", "ms", "worst ms"],
        rows,
        "prometheus-client's server ends the connection after every answer, so that each scrape of it makes a new one.",
    )


def show_draining(place: Path) -> None:
    """Print how regularly the ring is read under load, without scrapes and with as many as there can be."""
    program = compile_churn(place)
    show(
        f"Draining while {CONNECTIONS:,} connections come and go, and {SAMPLES:,} samples are scraped as fast as can be",
        ["scrapers", "conn/s", "scrapes/s", "median gap ms", "largest", "lost"],
        [draining(program, scrapers) for scrapers in (0, 1, 4)],
        "gap: between two looks at the ring.",
    )


def draining(program: Path, scrapers: int) -> list[str]:
    """Return a row: churn with so many scrapers beside it."""
    command = (sys.executable, "-m", "tests.bench.gaps", "run", "--listen", f"{HOST}:0", "--json", "--no-view")
    with net.namespace() as side, tracing("--netns", "own", side=side, command=command) as tracer:
        for number in range(SERVICES):
            with listening(side, HOST, PORT + 1 + number) as listener:
                talk(side, listener, HOST, times=1)
        begin = time.monotonic()
        with scraping(side, tracer, scrapers) as done:
            elapsed = float(side.run(str(program), str(PORT), str(CONNECTIONS)).split()[0])
        end = time.monotonic()
        summary = tracer.stop()
    looks = [begin, *(when for when in json.loads(summary.log.splitlines()[-1]) if begin < when < end)]
    gaps = [after - before for before, after in pairwise(looks)]
    cells = [
        f"{CONNECTIONS / elapsed:,.0f}",
        f"{len(done) / (end - begin):.1f}",
        f"{median(gaps) * 1e3:.1f}",
        f"{max(gaps) * 1e3:.1f}",
    ]
    return [str(scrapers), *cells, str(summary.document["events_lost"])]


@contextmanager
def scraping(side: net.Namespace, tracer: Tracing, scrapers: int) -> Iterator[list[int]]:
    """Have so many clients scrape meanwhile, each as soon as it has its answer; yield the growing list of lengths."""
    done: list[int] = []
    stop = threading.Event()

    def work() -> None:
        with side.inside(), closing(connect(tracer.address)) as connection:
            while not stop.is_set():
                done.append(len(get(connection)))

    with ExitStack() as stack:
        for thread in [threading.Thread(target=work) for _ in range(scrapers)]:
            thread.start()
            stack.callback(thread.join)
        stack.callback(stop.set)
        yield done
