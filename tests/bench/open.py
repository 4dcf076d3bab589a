"""What it costs to ask for the figures of very many open connections, beside `ss -ti`; and what a bulk transfer loses to it."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median

from tests.bench.tables import show
from tests.kernel import net
from tests.needs import tool
from tests.unit.model.builder import reading
from tracer.ingest.namespaces import Namespaces
from tracer.ingest.snapshot import Dump, Snapshot
from tracer.ingest.source import Context
from tracer.kernel.handles import open_handles
from tracer.model.sockets import Summarizer
from tracer.model.totals import Model
from tracer.watch import PLAIN_SHARE, SHARE, pause_seconds

PORT = 7919
EACH_PROCESS = 9_000
"""Connections of one process, which has a descriptor for either end."""

SIZES = (10_000, 100_000)
BULK_SECONDS = 1.0
NOTHING = "nothing"
ARMS = {"dumps with figures": False, "plain dumps": True}
"""One after another; whether they are plain."""

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
    summarize = Summarizer()
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


def _bulk(side: net.Namespace, size: int, rounds: int) -> None:
    """Print what a bulk transfer loses while dumps are taken one after another, and what that is at the rate of `run`.

    Short transfers by turns, each round there and back, and each against the two without dumps of its round, so that what
    else the machine does meets all alike. Dumps at their own pace would be a few in an hour: no transfer is so long.
    """
    ratios: dict[str, list[float]] = {name: [] for name in ARMS}
    shares, busy = {name: _share(side, plain=plain) for name, plain in ARMS.items()}, {name: Busy() for name in ARMS}
    bare: list[float] = []
    for _ in range(rounds):
        found: dict[str, list[float]] = {name: [] for name in (NOTHING, *ARMS)}
        for name in (NOTHING, *ARMS, *reversed(ARMS), NOTHING):
            with _dumping(side, busy[name], plain=ARMS[name]) if name in ARMS else _nothing():
                found[name].append(float(side.run(sys.executable, "-c", BULK, str(BULK_SECONDS))))
        for name in ARMS:
            ratios[name].append(sum(found[name]) / sum(found[NOTHING]))
        bare.append(found[NOTHING][0] / found[NOTHING][1])
    lost = sum((1 - median(ratios[name])) * shares[name] / busy[name].share for name in ARMS)
    show(
        f"A bulk transfer beside {size:,} open connections, {rounds} rounds, each there and back",
        ["beside", "% of without", "from", "to", "CPU %", "CPU % in run"],
        [[name, *_per_cent(ratios[name]), f"{100 * busy[name].share:.0f}", f"{100 * shares[name]:.2f}"] for name in ARMS]
        + [["nothing, against itself", *_per_cent(bare), "-", "-"]],
        f"Dumps at the rate of `run` cost a transfer {100 * max(lost, 0):.2f} % of its throughput.",
    )


def _per_cent(ratios: list[float]) -> list[str]:
    return [f"{100 * value:.1f}" for value in (median(ratios), min(ratios), max(ratios))]


def _share(side: net.Namespace, *, plain: bool) -> float:
    """Return the share of a CPU that such dumps take at the rate of `run`."""
    summarize, namespaces = Summarizer(), _namespaces(side)
    took: list[tuple[float, float]] = []
    for _ in range(3):
        _timed(took, lambda: summarize(namespaces.read(plain=plain)))
    namespaces.close()
    wall, cpu = (median(values) for values in zip(*took, strict=True))
    return float(cpu / (wall + pause_seconds(wall, cpu, PLAIN_SHARE if plain else SHARE)))


@dataclass
class Busy:
    """What dumps one after another took of a CPU, and of time."""

    cpu: float = 0.0
    wall: float = 0.0

    @property
    def share(self) -> float:
        """The part of a CPU that they had."""
        return self.cpu / self.wall


@contextmanager
def _dumping(side: net.Namespace, busy: Busy, *, plain: bool) -> Iterator[None]:
    """Have dumps taken one after another meanwhile."""
    summarize, namespaces, stop = Summarizer(), _namespaces(side), threading.Event()

    def work() -> None:
        start = time.perf_counter()
        while not stop.is_set():
            summarize(namespaces.read(plain=plain))
        busy.cpu, busy.wall = busy.cpu + time.thread_time(), busy.wall + time.perf_counter() - start

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        namespaces.close()


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _namespaces(side: net.Namespace) -> Namespaces:
    with side.inside():
        return Namespaces(open_handles(own_only=True), with_details=True)


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
