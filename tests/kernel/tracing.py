"""A running `tcptrace run` for tests: started, asked over HTTP as anyone would, stopped, and its summary read."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.kernel.net import Namespace
from tests.kernel.until import PATIENCE, until
from tests.needs import ROOT, tool

RUN = ("-m", "tracer", "run", "--listen", "127.0.0.1:0", "--json")
ATTACHED = re.compile(r"attached after ([\d.]+) s; metrics on https?://([^/]+)/metrics")

MAX_RESIDENT_KB = (60 if sys.version_info < (3, 14) else 64) * 1024
"""Python 3.14 itself and its libraries take 5 MiB more than 3.13."""

Transitions = dict[tuple[str, str], int]


@dataclass(frozen=True)
class Summary:
    """What a run said at its end: the JSON document, what went to standard error, and the exit status."""

    document: Mapping[str, Any]
    log: str
    status: int

    @property
    def transitions(self) -> Transitions:
        """Counts by (from, to)."""
        return {(row["from"], row["to"]): row["count"] for row in self.document["transitions"]}

    def count(self, table: str, **labels: object) -> int:
        """Return the sum of a table's counts (handshakes, failures, closes, …) with these labels."""
        return sum(row["count"] for row in self.document[table] if labels.items() <= row.items())


@dataclass(frozen=True)
class Scrape:
    """The samples of one scrape, by name and labels."""

    samples: Mapping[tuple[str, frozenset[tuple[str, str]]], float]

    def value(self, name: str, **labels: str) -> float | None:
        """Return the sum of all samples of tcptrace_<name> with these labels, None where there is none."""
        wanted = frozenset(labels.items())
        found = [value for (n, has), value in self.samples.items() if n == f"tcptrace_{name}" and wanted <= has]
        return sum(found) if found else None

    @property
    def transitions(self) -> Transitions:
        """Counts by (from, to)."""
        rows = [(dict(has), value) for (name, has), value in self.samples.items() if name == "tcptrace_state_transitions_total"]
        return {(labels["from"], labels["to"]): int(value) for labels, value in rows}


@dataclass(frozen=True)
class BpfObjects:
    """Numbers of BPF programs and maps."""

    programs: frozenset[int]
    maps: frozenset[int]

    def alive(self) -> set[tuple[str, int]]:
        """Return those of them that the kernel still has."""
        return {("program", n) for n in self.programs & _listed("prog")} | {("map", n) for n in self.maps & _listed("map")}


class Tracing:
    """A running tracer. address: HOST:PORT of its metrics; seconds: what it says its start took."""

    def __init__(self, process: subprocess.Popen[bytes], side: Namespace | None) -> None:
        self.process = process
        self.pid = process.pid
        self._side = side
        self._log: list[str] = []
        self.seconds, self.address = self._wait_until_attached()

    def _wait_until_attached(self) -> tuple[float, str]:
        assert self.process.stderr is not None
        for line in iter(self.process.stderr.readline, b""):
            self._log.append(line.decode())
            if found := ATTACHED.search(self._log[-1]):
                return float(found[1]), found[2]
        raise AssertionError(f"tcptrace ended at its start: {''.join(self._log)}")

    def get(self, path: str, **headers: str) -> tuple[bytes, Message]:
        """Return body and head of one of its pages; header names with `_` for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(f"http://{self.address}{path}", headers=named)
        with self._side.inside() if self._side else nullcontext():
            answer = urllib.request.urlopen(request, timeout=PATIENCE)
        with answer:
            return answer.read(), answer.headers

    def scrape(self) -> Scrape:
        """Return what /metrics says now."""
        families = text_string_to_metric_families(self.get("/metrics")[0].decode())
        samples = [sample for family in families for sample in family.samples]
        return Scrape({(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples})

    def wait_for_transitions(self, wanted: Transitions) -> None:
        """Wait until so many transitions, of those that are named, have been counted at least."""

        def reached() -> bool:
            seen = self.scrape().transitions
            return all(seen.get(edge, 0) >= count for edge, count in wanted.items())

        until(reached, f"these transitions were counted: {wanted}")

    def status(self, thread: int | None = None) -> dict[str, str]:
        """Return /proc/PID/status of the process, or of one of its threads, as names and values."""
        place = f"/proc/{self.pid}" if thread is None else f"/proc/{self.pid}/task/{thread}"
        lines = Path(place, "status").read_text(encoding="utf-8").splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def threads(self) -> list[int]:
        """Return the numbers of its threads."""
        return [int(path.name) for path in Path(f"/proc/{self.pid}/task").iterdir()]

    def thread_statuses(self) -> list[dict[str, str]]:
        """Return what /proc says of each of its threads, but for those that end meanwhile."""
        found = []
        for thread in self.threads():
            with suppress(FileNotFoundError, ProcessLookupError):
                found.append(self.status(thread))
        return found

    def children(self) -> list[int]:
        """Return the process ids of its children."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return [int(pid) for task in tasks for pid in (task / "children").read_text(encoding="ascii").split()]

    def descriptors(self) -> list[str]:
        """Return what its open descriptors are, sorted; not those that are closed meanwhile."""
        found: list[str] = []
        for descriptor in Path(f"/proc/{self.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                found.append(str(descriptor.readlink()))
        return sorted(found)

    def bpf_objects(self) -> BpfObjects:
        """Return the programs that it holds, and the maps that those use."""
        programs = set(self._figures("prog_id"))
        maps = {n for row in _bpftool("prog") if row["id"] in programs for n in row.get("map_ids", [])}
        return BpfObjects(frozenset(programs), frozenset(maps))

    def misses(self) -> int:
        """Return how many runs of its programs the kernel has skipped, because an interrupt came while one was running."""
        return sum(self._figures("recursion_misses"))

    def _figures(self, name: str) -> list[int]:
        return figures_of_descriptors(self.pid, name)

    def stop(self, number: int = signal.SIGTERM) -> Summary:
        """Ask it to end with a signal, and return its summary."""
        self.process.send_signal(number)
        out, log = self.process.communicate(timeout=PATIENCE)
        text = "".join(self._log) + log.decode()
        assert out, f"tcptrace ended with status {self.process.returncode} without a summary: {text}"
        return Summary(json.loads(out), text, self.process.returncode)


def figures_of_descriptors(pid: int, name: str) -> list[int]:
    """Return what the kernel says by that name of each of a process's descriptors (/proc/PID/fdinfo)."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            found += map(int, re.findall(rf"^{name}:\s*(\d+)$", path.read_text(encoding="ascii"), re.MULTILINE))
    return found


def _bpftool(kind: str) -> list[dict[str, Any]]:
    done = subprocess.run([tool("bpftool"), "-j", kind, "list"], capture_output=True, text=True, check=True, timeout=PATIENCE)
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def _listed(kind: str) -> set[int]:
    return {row["id"] for row in _bpftool(kind)}


def start(
    *options: str, side: Namespace | None = None, cwd: Path = ROOT, command: Sequence[str] = (sys.executable, *RUN)
) -> subprocess.Popen[bytes]:
    """Start `tcptrace run` with options, in a session of its own; command may be another way of starting it."""
    inside = side.command(*command, *options) if side else [*command, *options]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SUDO_")}
    return subprocess.Popen(
        inside,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
    )


@contextmanager
def tracing(
    *options: str, side: Namespace | None = None, cwd: Path = ROOT, command: Sequence[str] = (sys.executable, *RUN)
) -> Iterator[Tracing]:
    """Yield a tracer that is attached; afterwards it is gone, whatever happened."""
    process = start(*options, side=side, cwd=cwd, command=command)
    with process:
        try:
            yield Tracing(process, side)
        finally:
            process.kill()
