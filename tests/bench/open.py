"""What it costs to ask for the figures of very many open connections, beside `ss -ti`; and what a bulk transfer loses to it."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from statistics import median

from tests.bench.tables import show
from tests.kernel import net
from tests.kernel.until import until
from tests.needs import tool
from tests.unit.model.builder import reading
from tracer.ingest.namespaces import Namespaces
from tracer.ingest.snapshot import Dump, Snapshot
from tracer.ingest.source import Context
from tracer.ingest.watch import Watch, pause_seconds
from tracer.kernel.filters import Filters
from tracer.kernel.namespaces import open_doors
from tracer.model.figures import Looks, open_figures
from tracer.model.opened import open_services
from tracer.model.sockets import Summarizer
from tracer.model.totals import Model

PORT = 7919
EACH_PROCESS = 9_000
"""Connections of one process, which has a descriptor for either end."""

SIZES = (10_000, 100_000)
BULK_SECONDS = 3.0

BULK = """
import socket, sys, threading, time
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
end, _ = server.accept()
stop = time.monotonic() + float(sys.argv[1])
def send():
    data = bytes(1 << 18)
    while time.monotonic() < stop:
        client.sendall(data)
    client.close()
threading.Thread(target=send).start()
count, buffer = 0, bytearray(1 << 20)
start = time.monotonic()
while got := end.recv_into(buffer):
    count += got
print(count / (time.monotonic() - start))
"""


HOLDER = """
import socket, sys
listener = socket.create_server((sys.argv[2], int(sys.argv[1])), backlog=64)
held = []
for _ in range(int(sys.argv[3])):
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    client.send(b"ping")
    server.recv(4)
    held += client.detach(), server.detach()
print("ready", flush=True)
sys.stdin.read()
"""


def open_connections(rounds: int, sizes: tuple[int, ...] = SIZES) -> None:
    """Print both tables for each number of connections; each has two sockets, since both ends are here."""
    for size in sizes:
        with net.namespace() as side, _connections(side, size):
            _dumps(side, size, rounds)
            _bulk(side, size, rounds)


def _dumps(side: net.Namespace, size: int, rounds: int) -> None:
    namespaces = _namespaces(side)
    summarize = _summarizer()
    model = Model(Context("", "", 0, 0), start_ns=0)
    parts: dict[str, list[tuple[float, float]]] = {name: [] for name in ("dump", "sums", "counters", "ss")}
    for _ in range(rounds):
        dump = _timed(parts["dump"], namespaces.read)
        assert isinstance(dump, Dump)
        snapshot = _timed(parts["sums"], partial(summarize, dump))
        assert isinstance(snapshot, Snapshot)
        assert snapshot.figures is not None
        assert len(snapshot.figures.table) == 2 * size
        _timed(parts["counters"], partial(model.add, reading(snapshot=snapshot, time_ns=snapshot.time_ns)))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        side.run("sh", "-c", f"{tool('ss')} -tinH > /dev/null")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        parts["ss"].append((time.perf_counter() - start, cpu))
    namespaces.close()
    cpu = sum(median(cpu for _, cpu in parts[name]) for name in ("dump", "sums"))
    wall = sum(median(wall for wall, _ in parts[name]) for name in ("dump", "sums"))
    names = {"dump": "dump with INFO", "sums": "its sums", "counters": "into counters", "ss": "ss -ti > /dev/null"}
    show(
        f"{size:,} open connections, {2 * size:,} sockets, medians of {rounds} rounds",
        ["what", "ms", "CPU ms"],
        [
            [names[name], *(f"{median(values) * 1e3:.0f}" for values in zip(*found, strict=True))]
            for name, found in parts.items()
        ],
        f"The next dump comes {pause_seconds(wall, cpu):.1f} s after this one: 1 % of a core.",
    )


def _part(name: str, found: list[tuple[float, float]]) -> list[str]:
    return [name, *(f"{median(values) * 1e3:.0f}" for values in zip(*found, strict=True))]


def _bulk(side: net.Namespace, size: int, rounds: int) -> None:
    """Print how fast a bulk transfer is beside the connections, with dumps and without."""
    rates: dict[bool, list[float]] = {False: [], True: []}
    for number in range(2 * rounds):
        with_dumps = number % 2 == 1
        with _watch(side) if with_dumps else _nothing():
            rates[with_dumps].append(float(side.run(sys.executable, "-c", BULK, str(BULK_SECONDS))))
    plain, beside = median(rates[False]), median(rates[True])
    show(
        f"A bulk transfer of {BULK_SECONDS:.0f} s beside them, medians of {rounds} rounds",
        ["with", "GB/s", "from", "to"],
        [_rate("nothing", rates[False]), _rate("dumps", rates[True])],
        f"With dumps it has {100 * beside / plain:.1f} % of what it has without.",
    )


def _rate(name: str, rates: list[float]) -> list[str]:
    return [name, *(f"{value / 1e9:.2f}" for value in (median(rates), min(rates), max(rates)))]


@contextmanager
def _watch(side: net.Namespace) -> Iterator[None]:
    """Have dumps taken as `run` does it meanwhile."""
    watch = Watch(_namespaces(side), _summarizer())
    watch.start()
    try:
        until(lambda: watch.latest, "there is a first dump")
        yield
    finally:
        watch.close()


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _namespaces(side: net.Namespace) -> Namespaces:
    with side.inside():
        return Namespaces(open_doors(own_only=True), with_details=True)


def _summarizer() -> Summarizer:
    filters = Filters()
    return Summarizer(
        find_open=partial(open_services, filters=filters), find_figures=partial(open_figures, filters=filters, looks=Looks())
    )


def _timed(found: list[tuple[float, float]], action: Callable[[], object]) -> object:
    """Do it, and note the seconds by the clock and of a CPU."""
    start, cpu = time.perf_counter(), time.thread_time()
    result = action()
    found.append((time.perf_counter() - start, time.thread_time() - cpu))
    return result


@contextmanager
def _connections(side: net.Namespace, count: int) -> Iterator[None]:
    """Have so many connections open in a namespace, both ends of each, with something carried over every one."""
    side.set("net.ipv4.ip_local_port_range", "10000 65000")
    with ExitStack() as stack:
        for number, first in enumerate(range(0, count, EACH_PROCESS)):
            arguments = [str(PORT + number), f"127.0.0.{2 + number}", str(min(EACH_PROCESS, count - first))]
            command = side.command(sys.executable, "-c", HOLDER, *arguments)
            holder = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            assert holder.stdin is not None
            assert holder.stdout is not None
            stack.callback(holder.stdin.close)
            assert holder.stdout.readline() == "ready\n"
        yield
