"""How far the audit drifts on a busy machine, beside the hits of tracepoints that reached no BPF program.

Connections of every kind, some with loss, in a namespace of their own, for as long as asked; then the kernel's four counters,
ours, and what tests/kernel/unreached.py saw. Drift that is not explained by such hits is a fault.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.tables import show
from tests.kernel.net import Namespace, namespace
from tests.kernel.tracing import Scrape, Tracing, tracing
from tests.kernel.unreached import Unreached, unreached
from tests.kernel.until import until
from tests.needs import ROOT, tool
from tracer.model.audit import AUDITED

PORT = 7300
"""The first of three ports of the load; the namespace is its own."""

HEAD = ["counter", "kernel", "traced", "drift", "hits that reached no program"]


@contextmanager
def _busy(processes: int) -> Iterator[None]:
    """Keep the machine busy with so many processes."""
    code = "while True: pass"
    running = [subprocess.Popen([sys.executable, "-I", "-c", code]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def prepare(side: Namespace) -> None:
    """Have one in twenty packets of the lossy kind be lost, and enough ports."""
    lossy = f"tcp dport {PORT + 2} numgen random mod 20 0 drop; tcp sport {PORT + 2} numgen random mod 20 0 drop"
    side.run(
        tool("nft"), "-f", "-", text=f"table inet lossy {{ chain loss {{ type filter hook input priority 0; {lossy}; }}; }}"
    )
    side.set("net.ipv4.ip_local_port_range", "24000 65535")


def _round(side: Namespace) -> int:
    """Make ten thousand connections; return how many."""
    command = side.command(sys.executable, "-m", "tests.kernel.load", str(PORT))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return sum(json.loads(done.stdout).values())


def traffic(side: Namespace, missed: Unreached, seconds: float) -> tuple[int, Counter[str]]:
    """Make rounds until the time is over; return how many connections, and the hits that reached no program, by counter."""
    hits: Counter[str] = Counter()
    made, end = 0, time.monotonic() + seconds
    missed.forget()
    while not made or time.monotonic() < end:
        made += _round(side)
        until(lambda: side.open_sockets() <= 2, "every connection but the tracer's has ended", 300)
        hits.update(missed.hits().at(PORT, PORT + 1, PORT + 2).audited())
        missed.forget()
    return made, hits


def settled(tracer: Tracing) -> Scrape:
    """Return what is exported a while after the last connection."""
    time.sleep(3)
    return tracer.scrape()


def drift(seconds: float, busy: int) -> None:
    """Print the table."""
    with unreached() as missed, namespace() as side, tracing("--netns", "own", side=side) as tracer:
        prepare(side)
        with _busy(busy):
            made, hits = traffic(side, missed, seconds)
            scrape = settled(tracer)
            load = os.getloadavg()[0]
    rows = []
    for name in AUDITED:
        kernel, traced = (int(scrape.value(f"audit_{one}_total", counter=name) or 0) for one in ("kernel", "traced"))
        rows.append([name, f"{kernel:,}", f"{traced:,}", f"{traced - kernel:,}", f"{hits[name]:,}"])
    show(f"Drift after {made:,} connections at load {load:.0f}", HEAD, rows)
    names = (
        "connections",
        "events_lost_total",
        "connections_untracked_total",
        "events_unreached_total",
        "program_misses_total",
    )
    print(", ".join(f"{name} {scrape.value(name):g}" for name in names))
