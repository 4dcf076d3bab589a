"""Hits of tracepoints for which the kernel runs no BPF program: seen by tracefs, in threads in which a witness never runs.

On some machines softirqs that interrupt certain threads hit tracepoints, and no program is run and no miss counted.
Exact tests allow for exactly these: tracefs records every hit that is not made by this session's processes, with its
thread, in an instance of its own; tests/kernel/witness.py, two programs that are none of tcptrace's, says in which threads
programs run at all. The hits of all other threads reached none. Without tracefs there are none to allow for, nor in an emulated
machine, where the witness would take minutes to compile.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.kernel.until import SLOWNESS
from tests.needs import ROOT, tool
from tracer.model.tcp import STATES

EVENTS = {
    "sock/inet_sock_set_state": "protocol==6",
    "tcp/tcp_retransmit_skb": None,
    "tcp/tcp_retransmit_synack": None,
    "tcp/tcp_send_reset": None,
    "tcp/tcp_receive_reset": None,
}
"""The tracepoints, and the filter on each."""

PREFIX = "tcptrace-tests-"
WITNESS = ("/usr/bin/python3", "-I", str(Path(__file__).with_name("witness.py")))
LINE = re.compile(r"-(\d+) +\[\d+\] \S+ +[\d.]+: (\w+): (.*)")
PORTS = re.compile(r"\b(?:sport=|dport=|src=\S*:|dest=\S*:)(\d+)")
OVERRUN = re.compile(r"^overrun: (\d+)$", re.MULTILINE)
EDGE = re.compile(r"oldstate=TCP_(\w+) newstate=TCP_(\w+)")


@dataclass(frozen=True)
class Hit:
    """One hit: the tracepoint, the thread in whose context it came, and both ports. edge: from and to of a change of state."""

    event: str
    thread: int
    ports: frozenset[int]
    edge: tuple[str, str] | None = None


@dataclass(frozen=True)
class Hits:
    """Hits that reached no program."""

    every: tuple[Hit, ...] = ()

    def at(self, *ports: int) -> Hits:
        """Return those of connections from or to one of these ports."""
        return Hits(tuple(hit for hit in self.every if hit.ports & set(ports)))

    @property
    def transitions(self) -> Counter[tuple[str, str]]:
        """Changes of state, by from and to."""
        return Counter(hit.edge for hit in self.every if hit.edge)

    def audited(self) -> dict[str, int]:
        """Return by how much our counts must be lower than the kernel's, by its counter."""
        edges = self.transitions
        return {
            "ActiveOpens": edges["close", "syn_sent"],
            "PassiveOpens": edges["listen", "syn_recv"],
            "EstabResets": edges["established", "close"] + edges["close_wait", "close"],
            "RetransSegs": self.retransmissions,
        }

    @property
    def retransmissions(self) -> int:
        """Retransmissions, those of SYN-ACKs included; each is of one segment or more."""
        return sum(hit.event.startswith("tcp_retransmit") for hit in self.every)

    def ends(self) -> int:
        """Return how many connections or attempts ended in such a hit."""
        return sum(count for (_, to), count in self.transitions.items() if to == "close")


def parse(text: str) -> Iterator[Hit]:
    """Yield the hits in the text of a trace."""
    for number, event, rest in LINE.findall(text):
        edge = EDGE.search(rest)
        states = (edge[1].lower(), edge[2].lower()) if edge else None
        assert states is None or set(states) <= set(STATES)
        yield Hit(event, int(number), frozenset(map(int, PORTS.findall(rest))), states)


class Unreached:
    """A running trace and its witness. place: the instance, None where there is no tracefs."""

    def __init__(self, place: Path | None, witness: subprocess.Popen[str] | None) -> None:
        self._place = place
        self._witness = witness

    def forget(self) -> None:
        """Begin anew: what came before is not told any more."""
        if self._place:
            self._place.joinpath("trace").write_text("", "ascii")

    def overwritten(self) -> int:
        """Return how many recorded hits later ones have overwritten since the last forget(); which is not known."""
        found = self._place.glob("per_cpu/cpu*/stats") if self._place else ()
        return sum(int(match[1]) for stats in found if (match := OVERRUN.search(stats.read_text("ascii"))))

    def hits(self) -> Hits:
        """Return the hits since the last forget() that reached no program."""
        if not self._place:
            return Hits()
        hits = [*parse(self._place.joinpath("trace").read_text("ascii", "replace"))]
        reached = self._reached()
        return Hits(tuple(hit for hit in hits if hit.thread not in reached))

    def _reached(self) -> set[int]:
        assert self._witness is not None
        assert self._witness.stdin is not None
        assert self._witness.stdout is not None
        self._witness.stdin.write("\n")
        self._witness.stdin.flush()
        return set(map(int, self._witness.stdout.readline().split()))


@contextmanager
def tracefs() -> Iterator[Path | None]:
    """Yield a new instance of tracefs, mounted for itself; None where this kernel has none."""
    with TemporaryDirectory(prefix="tcptrace-tracefs") as directory:
        done = subprocess.run([tool("mount"), "-t", "tracefs", "tracefs", directory], capture_output=True, check=False)
        if done.returncode:
            yield None
            return
        instances = Path(directory, "instances")
        for left in instances.glob(f"{PREFIX}*"):
            remove_dead(left)
        place = instances / f"{PREFIX}{os.getpid()}"
        try:
            place.mkdir()
            yield place
        finally:
            if place.exists():
                place.rmdir()
            subprocess.run([tool("umount"), directory], check=True)


def remove_dead(place: Path) -> None:
    """Remove the instance of a session that was killed: its events would go on to cost the whole machine."""
    if Path("/proc", place.name.removeprefix(PREFIX)).exists():
        return
    with suppress(OSError):  # another session does the same
        place.joinpath("events", "enable").write_text("0", "ascii")
        place.rmdir()


def session_threads() -> list[str]:
    """Return all threads of this process, of the other workers of its session, and of the children of each."""
    waiting = [str(os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid())]
    threads = []
    while waiting:
        for task in Path("/proc", waiting.pop()).glob("task/*"):
            threads.append(task.name)
            with suppress(OSError):  # it has ended
                waiting += task.joinpath("children").read_text("ascii").split()
    return threads


def trace(place: Path) -> None:
    """Record all hits but those of this session's processes: a worker's churn would overwrite all else within a second."""
    write = {"buffer_size_kb": "8192", "options/event-fork": "1"}
    for name, text in write.items():
        place.joinpath(name).write_text(text, "ascii")
    place.joinpath("set_event_notrace_pid").write_text(" ".join(session_threads()), "ascii")
    for event, filtered in EVENTS.items():
        if (at := place / "events" / event).exists():
            if filtered:
                at.joinpath("filter").write_text(filtered, "ascii")
            at.joinpath("enable").write_text("1", "ascii")


@contextmanager
def unreached() -> Iterator[Unreached]:
    """Yield what knows of hits that reach no program, from now on."""
    with ExitStack() as stack:
        place = stack.enter_context(tracefs()) if SLOWNESS == 1 else None
        if place is None:
            yield Unreached(None, None)
            return
        witness = stack.enter_context(_witness())
        trace(place)
        try:
            yield Unreached(place, witness)
        finally:
            for event in EVENTS:
                if (at := place / "events" / event).exists():
                    at.joinpath("enable").write_text("0", "ascii")


@contextmanager
def _witness() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(WITNESS, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n", "the witness of hits did not start"
            yield process
        finally:
            process.kill()
