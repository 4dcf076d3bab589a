"""`make soak`: twenty minutes of everything at once, and what must be as it was before: memory, descriptors, gauges, counters.

Rounds of ten thousand connections of every kind, some with loss (tests/kernel/load.py), scans of ports, network namespaces and
cgroups that come and go, services on ports that nobody had before, scrapes all the time, and a tracer that is stopped for two
seconds now and then. At first there are more services than label sets: memory is measured at its bound, which is what traffic
of others on the same machine leads to anyhow. Exits with 1 if anything is not as it must be.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count, cycle, islice
from pathlib import Path
from statistics import median

from tests.bench.drift import PORT, prepare, settled
from tests.bench.process import memory_bytes
from tests.bench.tables import show
from tests.kernel.net import Namespace, namespace
from tests.kernel.test_never_falls import Samples, rising
from tests.kernel.tracing import Scrape, Tracing, tracing
from tests.kernel.traffic import listening, talk
from tests.kernel.unreached import Unreached, unreached
from tests.kernel.until import until
from tests.needs import ROOT
from tracer.model.audit import AUDITED
from tracer.model.labels import MAX_SETS

ADDRESS = "127.0.0.1"
WARM_SHARE = 0.5
"""Of the time, after which memory and descriptors may grow no more: what the page keeps of ten minutes fills for as long."""

GROWTH = 2 << 20
MORE_DESCRIPTORS = 4
"""Those of scrapes under way."""

WINDOW_SECONDS = 60.0
"""Memory at rest is the median over so long. A scrape and a batch of records take more for a moment, and for a second after the
C library has given back what was free there is less: it is a matter of luck whether a look meets that.
"""

CGROUPS = Path("/sys/fs/cgroup")
SHORT_LIVED = 7999
SCANNED = range(20_000, 20_400)
SERVICES = range(8_000, 20_000)
NEW_SERVICES = 20
"""On other ports in each round."""

RETRANSMITS = ("tcp_retransmit_skb", "tcp_retransmit_synack")
"""The programs that count RetransSegs; one of all other counters is that of state changes."""

LOST = ("events_lost_total", "connections_untracked_total", "events_unreached_total", "program_misses_total")
HITS = Counter[str]


@dataclass
class Soak:
    """What was seen: connections, the tracer's figures (seconds since the start, bytes), hits that reached no program.

    ends: such hits of connections' ends.
    """

    made: int = 0
    resident: list[tuple[float, int]] = field(default_factory=list)
    descriptors: list[tuple[float, int]] = field(default_factory=list)
    hits: HITS = field(default_factory=Counter)
    ends: int = 0
    fell: list[object] = field(default_factory=list)
    scrapes: int = 0
    failed: list[str] = field(default_factory=list)

    def look(self, tracer: Tracing, elapsed: float) -> None:
        """Note what the tracer takes now."""
        self.resident.append((elapsed, memory_bytes(tracer.pid)))
        self.descriptors.append((elapsed, len(list(Path(f"/proc/{tracer.pid}/fd").iterdir()))))

    def at_rest(self, since: float) -> list[float]:
        """Return the median of the resident memory in each window since then."""
        windows: defaultdict[int, list[int]] = defaultdict(list)
        for elapsed, size in self.resident:
            windows[int((elapsed - since) // WINDOW_SECONDS)].append(size)
        return [median(sizes) for number, sizes in sorted(windows.items()) if number >= 0]


def sums(scrape: Scrape) -> Samples:
    """Return what may never fall: counters and histograms, summed over the services, whose label sets come and go."""
    found: defaultdict[tuple[str, frozenset[tuple[str, str]]], float] = defaultdict(float)
    for (name, labels), value in rising(scrape).items():
        found[name, frozenset((label, text) for label, text in labels if label not in {"port", "left"})] += value
    return found


@contextmanager
def scraped(tracer: Tracing, found: Soak) -> Iterator[None]:
    """Scrape twice a second meanwhile, and note what fell, scrapes that failed, and what the tracer takes."""
    stop, start = threading.Event(), time.monotonic()

    def work() -> None:
        before: Samples = {}
        while not stop.wait(0.5):
            found.look(tracer, time.monotonic() - start)
            try:
                now = sums(tracer.scrape())
            except OSError as error:
                found.failed.append(repr(error))
                continue
            found.scrapes += 1
            # sums of seconds are rounded in the text
            found.fell.extend(
                (key, value, now.get(key)) for key, value in before.items() if now.get(key, -1) < value * (1 - 1e-9)
            )
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
                probe.connect_ex((ADDRESS, port))


def serve_once(side: Namespace, ports: Iterable[int]) -> None:
    """Have a service on each of these ports, with a connection."""
    for port in ports:
        with listening(side, ADDRESS, port) as listener:
            talk(side, listener, ADDRESS, times=1)


def come_and_go() -> None:
    """Have a network namespace with a few connections, and a cgroup, that live for a moment."""
    place = CGROUPS / f"soak-{os.getpid()}"
    with suppress(OSError):
        place.mkdir()
    with namespace() as short, listening(short, ADDRESS, SHORT_LIVED) as listener:
        talk(short, listener, ADDRESS, times=5)
    with suppress(OSError):
        place.rmdir()


def pause(tracer: Tracing) -> None:
    """Stop the tracer for two seconds."""
    tracer.process.send_signal(signal.SIGSTOP)
    time.sleep(2)
    tracer.process.send_signal(signal.SIGCONT)


def load(side: Namespace) -> int:
    """Make ten thousand connections; return how many."""
    command = side.command(sys.executable, "-m", "tests.kernel.load", str(PORT))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return sum(json.loads(done.stdout).values())


def soak(seconds: float, side: Namespace, tracer: Tracing, missed: Unreached) -> Soak:
    """Do all of it until the time is over."""
    found, start, services = Soak(), time.monotonic(), cycle(SERVICES)
    own = (PORT, PORT + 1, PORT + 2, int(tracer.address.rpartition(":")[2]), *SCANNED, *SERVICES)
    missed.forget()
    with scraped(tracer, found):
        serve_once(side, islice(services, MAX_SETS // 2))
        for turn in count(1):
            found.made += load(side)
            scan(side)
            come_and_go()
            serve_once(side, islice(services, NEW_SERVICES))
            if not turn % 5:
                pause(tracer)
            until(lambda: side.open_sockets() <= 2, "every connection but the tracer's has ended", 300)
            hits = missed.hits()
            found.hits.update(hits.at(*own).audited())
            found.ends += hits.at(*own, SHORT_LIVED).ends()
            missed.forget()
            elapsed = time.monotonic() - start
            sizes = f"{found.resident[-1][1] / 1e6:.1f} MB, {found.descriptors[-1][1]} descriptors"
            print(f"{elapsed:6.0f} s: {found.made:,} connections, {sizes}", file=sys.stderr, flush=True)
            if elapsed >= seconds:
                return found
    raise AssertionError


def still_open(last: Scrape) -> dict[int, float]:
    """Return how many connections of each of the soak's own ports a scrape has; the machine's others are not ours to end."""
    found = {port: last.value("connections", port=str(port)) or 0 for port in (PORT, PORT + 1, PORT + 2, SHORT_LIVED)}
    return {port: count for port, count in found.items() if count}


def growth(rest: list[float]) -> float:
    """Return by how much memory at rest has grown: the middle of the last third of the time above that of the first."""
    third = max(len(rest) // 3, 1)
    return median(rest[-third:]) - median(rest[:third])


def skipped_runs(last: Scrape, counter: str) -> int:
    """Return how many runs of the programs that count this the kernel has skipped, and says so."""
    programs = RETRANSMITS if counter == "RetransSegs" else ("inet_sock_set_state",)
    return sum(int(last.value("program_misses_total", program=program) or 0) for program in programs)


def faults(found: Soak, last: Scrape, seconds: float) -> list[str]:
    """Return what is not as it must be, as sentences."""
    rest = found.at_rest(seconds * WARM_SHARE)
    held = [number for elapsed, number in found.descriptors if elapsed >= seconds * WARM_SHARE]
    checks = {
        f"resident memory grew by {growth(rest) / 1e6:.1f} MB after warm-up": growth(rest) > GROWTH,
        f"descriptors grew from {held[0]} to {held[-1]}": held[-1] > held[0] + MORE_DESCRIPTORS,
        f"counters fell: {found.fell[:3]}": bool(found.fell),
        f"scrapes failed: {found.failed[:3]}": bool(found.failed),
        # an end that reached no program, in a namespace that is gone, is known when the kernel uses its socket again
        f"open at the end: {still_open(last)}": sum(still_open(last).values()) > found.ends,
    }
    for name in AUDITED:
        kernel, traced = (int(last.value(f"audit_{one}_total", counter=name) or 0) for one in ("kernel", "traced"))
        skipped, hits = skipped_runs(last, name), found.hits[name]
        checks[f"{name} drifts by {traced - kernel}; {hits} hits reached no program, {skipped} runs were skipped"] = (
            # traffic of others on this machine may have had the same ports
            not 0 <= kernel - traced <= hits + skipped
        )
    return [what for what, is_so in checks.items() if is_so]


def main() -> int:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1200, help="how long (1,200)")
    seconds = parser.parse_args().seconds
    with ExitStack() as stack:
        missed = stack.enter_context(unreached())
        side = stack.enter_context(namespace())
        tracer = stack.enter_context(tracing(side=side))
        prepare(side)
        found = soak(seconds, side, tracer, missed)
        last = settled(tracer)
        most = memory_bytes(tracer.pid, "VmHWM")
    rest = [size / 1e6 for size in found.at_rest(seconds * WARM_SHARE)]
    grown = growth(found.at_rest(seconds * WARM_SHARE)) / 1e6
    rows = [
        ["connections", f"{found.made:,}"],
        ["scrapes, and failed ones", f"{found.scrapes:,}, {len(found.failed)}"],
        ["resident at rest after warm-up: least, most, growth, MB", f"{min(rest):.1f} {max(rest):.1f} {grown:+.1f}"],
        ["resident at any moment: most, MB", f"{most / 1e6:.1f}"],
        ["descriptors: first, last", f"{found.descriptors[0][1]} {found.descriptors[-1][1]}"],
        ["open connections at the end, ends that reached no program", f"{still_open(last)}, {found.ends}"],
        *([name, f"{last.value(name) or 0:g}"] for name in LOST),
        ["hits that reached no program", str(dict(found.hits))],
    ]
    show(f"Soak of {seconds:.0f} s", ["what", "figure"], rows)
    wrong = faults(found, last, seconds)
    print("\n".join(wrong) or "all as it must be")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
