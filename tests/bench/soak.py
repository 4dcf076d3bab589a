"""`make soak`: twenty minutes of everything at once, and what must be as it was before: memory, descriptors, gauges, counters.

Rounds of ten thousand connections of every kind, some with loss (tests/bench/drift.py), scans of ports, network namespaces and
cgroups that come and go, scrapes all the time, and a tracer that is stopped for two seconds now and then. Exits with 1 if
anything is not as it must be.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.drift import PORT, prepare, settled, traffic
from tests.bench.process import memory_bytes
from tests.bench.tables import show
from tests.kernel.net import Namespace, namespace
from tests.kernel.test_never_falls import fallen, rising
from tests.kernel.tracing import Scrape, Tracing, tracing
from tests.kernel.traffic import listening, talk
from tests.kernel.unreached import Unreached, unreached
from tracer.model.audit import AUDITED

WARM_SHARE = 0.25
"""Of the time, after which memory and descriptors may grow no more."""

GROWTH = 2 << 20
CGROUPS = Path("/sys/fs/cgroup")
SHORT_LIVED = 7999
SCANNED = range(20_000, 20_400)
LOST = ("events_lost_total", "connections_untracked_total", "events_unreached_total", "program_misses_total")


@dataclass
class Soak:
    """What was seen: connections, the tracer's figures after each round, hits that reached no program, counters that fell."""

    made: int = 0
    rounds: int = 0
    resident: list[tuple[float, int]] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    hits: Counter[str] = field(default_factory=Counter)
    fell: list[object] = field(default_factory=list)
    scrapes: int = 0
    failed: list[str] = field(default_factory=list)

    def look(self, tracer: Tracing, elapsed: float) -> None:
        """Note what the tracer takes now."""
        self.resident.append((elapsed, memory_bytes(tracer.pid)))
        self.descriptors.append(len(list(Path(f"/proc/{tracer.pid}/fd").iterdir())))


@contextmanager
def scraped(tracer: Tracing, found: Soak) -> Iterator[None]:
    """Scrape twice a second meanwhile, and note what fell, and scrapes that failed."""
    stop = threading.Event()

    def work() -> None:
        before: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        while not stop.wait(0.5):
            try:
                now = rising(tracer.scrape())
            except OSError as error:
                found.failed.append(repr(error))
                continue
            found.scrapes += 1
            found.fell.extend(fallen(before, now).items())
            before = now

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def scan(side: Namespace) -> None:
    """Try many ports on which nobody listens."""
    with side.inside():
        for port in SCANNED:
            with socket.socket() as probe:
                probe.connect_ex(("127.0.0.1", port))


def come_and_go() -> None:
    """Have a network namespace with a few connections, and a cgroup, that live for a moment."""
    place = CGROUPS / f"soak-{os.getpid()}"
    with suppress(OSError):
        place.mkdir()
    with namespace() as short, listening(short, "127.0.0.1", SHORT_LIVED) as listener:
        talk(short, listener, "127.0.0.1", times=5)
    with suppress(OSError):
        place.rmdir()


def pause(tracer: Tracing) -> None:
    """Stop the tracer for two seconds, with connections meanwhile."""
    tracer.process.send_signal(signal.SIGSTOP)
    time.sleep(2)
    tracer.process.send_signal(signal.SIGCONT)


def soak(seconds: float, side: Namespace, tracer: Tracing, missed: Unreached) -> Soak:
    """Do all of it until the time is over; the pauses come between rounds."""
    found, start = Soak(), time.monotonic()
    with scraped(tracer, found):
        while (elapsed := time.monotonic() - start) < seconds:
            made, hits = traffic(side, missed, 0)
            found.made += made
            found.rounds += 1
            found.hits += hits
            scan(side)
            come_and_go()
            if found.rounds % 5 == 0:
                pause(tracer)
            found.look(tracer, elapsed)
            print(
                f"{elapsed:6.0f} s: {found.made:,} connections, {found.resident[-1][1] / 1e6:.1f} MB, "
                f"{found.descriptors[-1]} descriptors",
                file=sys.stderr,
                flush=True,
            )
    return found


def still_open(last: Scrape) -> float:
    """Return how many connections of the soak's own ports a scrape has; the machine's others are not ours to end."""
    return sum(last.value("connections", port=str(port)) or 0 for port in (PORT, PORT + 1, PORT + 2, SHORT_LIVED))


def faults(found: Soak, last: Scrape, seconds: float) -> list[str]:
    """Return what is not as it must be, as sentences."""
    warm = [size for elapsed, size in found.resident if elapsed >= seconds * WARM_SHARE] or [0]
    growth = max(warm) - warm[0]
    checks = {
        f"resident memory grew by {growth / 1e6:.1f} MB after warm-up": growth > GROWTH,
        f"descriptors grew from {found.descriptors[1:2]} to {found.descriptors[-1:]}": max(found.descriptors[1:], default=0)
        > found.descriptors[1:2][0] + 4,
        f"counters fell: {found.fell[:3]}": bool(found.fell),
        f"scrapes failed: {found.failed[:3]}": bool(found.failed),
        f"{still_open(last):g} connections are open at the end": bool(still_open(last)),
    }
    for name in AUDITED:
        kernel, traced = (int(last.value(f"audit_{one}_total", counter=name) or 0) for one in ("kernel", "traced"))
        checks[f"{name} drifts by {traced - kernel}, and {found.hits[name]} hits reached no program"] = (
            kernel - traced != found.hits[name]
        )
    return [what for what, is_so in checks.items() if is_so]


def main() -> int:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1200, help="how long (1,200)")
    seconds = parser.parse_args().seconds
    with unreached() as missed, namespace() as side, tracing(side=side) as tracer:
        prepare(side)
        found = soak(seconds, side, tracer, missed)
        last = settled(tracer)
    sizes = [size / 1e6 for _, size in found.resident]
    warm = [size / 1e6 for elapsed, size in found.resident if elapsed >= seconds * WARM_SHARE] or sizes[-1:]
    rows = [
        ["connections", f"{found.made:,}"],
        ["scrapes, and failed ones", f"{found.scrapes:,}, {len(found.failed)}"],
        ["resident: first, warm, most, last, MB", f"{sizes[0]:.1f} {warm[0]:.1f} {max(sizes):.1f} {sizes[-1]:.1f}"],
        ["descriptors at first, at the end", f"{found.descriptors[0]} {found.descriptors[-1]}"],
        ["open connections at the end", f"{still_open(last):g}"],
        *([name, f"{last.value(name) or 0:g}"] for name in LOST),
        ["hits that reached no program", str(dict(found.hits))],
    ]
    show(f"Soak of {seconds:.0f} s", ["what", "figure"], rows)
    wrong = faults(found, last, seconds)
    print("\n".join(wrong) or "all as it must be")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
