"""How long it takes to count very many sockets in TIME_WAIT, beside `ss`, which people use for it; both must be right."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import TypeVar

from tests.bench.tables import show
from tests.kernel import net
from tests.kernel.timewait import leave_timewait, timewait_objects
from tests.needs import tool
from tracer.ingest.namespaces import Namespaces
from tracer.kernel.handles import open_handles
from tracer.model.sockets import summed
from tracer.watch import pause_seconds

PORT = 7919
SOCKETS = 200_000

T = TypeVar("T")


def timewait(rounds: int, sockets: int = SOCKETS) -> None:
    """Print how long a snapshot (dump and sums) and `ss -tan state time-wait | wc -l` take, by turns."""
    with net.namespace() as side:
        leave_timewait(side, PORT, sockets)
        with side.inside():
            namespaces = Namespaces(open_handles(own_only=True))
        samples = [_sample(side, namespaces) for _ in range(rounds)]
        namespaces.close()
    dumps, cpus, tables = ([sample[i] for sample in samples] for i in range(3))
    show(
        f"{sockets:,} sockets in TIME_WAIT, medians of {rounds} rounds",
        ["by", "ms", "from", "to", "counted"],
        [_row("tcptrace", dumps, sockets), _row("ss | wc -l", tables, sockets)],
        f"tcptrace's take {median(cpus) * 1e3:.0f} ms of a CPU, so that the next one comes after {_pause(dumps, cpus):.1f} s;",
        "all counts equal tw in /proc/net/sockstat.",
    )


def _sample(side: net.Namespace, namespaces: Namespaces) -> tuple[float, float, float]:
    """Return the seconds of a snapshot, of a CPU for it, and of ss; fails when one has counted wrong."""
    cpu = time.thread_time()
    seconds, snapshot = _timed(lambda: summed(namespaces.read()))
    cpu = time.thread_time() - cpu
    by_ss, text = _timed(lambda: side.run("sh", "-c", f"{tool('ss')} -tanH state time-wait | wc -l"))
    counts = snapshot.states["time_wait"], int(text), timewait_objects(side)
    assert len(set(counts)) == 1, f"tcptrace, ss and sockstat disagree: {counts}"
    return seconds, cpu, by_ss


def _timed(action: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result


def _row(name: str, seconds: list[float], sockets: int) -> list[str]:
    return [name, *(f"{value * 1e3:.0f}" for value in (median(seconds), min(seconds), max(seconds))), f"{sockets:,}"]


def _pause(dumps: list[float], cpus: list[float]) -> float:
    return pause_seconds(median(dumps), median(cpus))
