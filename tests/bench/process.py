"""What the kernel says of a process: its CPU time, its memory, and the BPF programs that it holds."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.needs import tool

TICK = 1 / os.sysconf("SC_CLK_TCK")
STATS = Path("/proc/sys/kernel/bpf_stats_enabled")
PROGRAM = re.compile(r"^prog_id:\s*(\d+)$", re.MULTILINE)
FIGURES = ("run_cnt", "run_time_ns", "recursion_misses")

QUIET = 0.05
"""Share of a CPU below which a tool counts as having nothing to do; one that polls its ring takes a hundredth."""


@dataclass(frozen=True)
class Runs:
    """How often BPF programs ran, and for how long, zeros unless kernel.bpf_stats_enabled is set; and how often the kernel
    left one out that was running already on the same CPU.
    """

    count: int = 0
    seconds: float = 0.0
    skipped: int = 0

    def since(self, before: Runs) -> Runs:
        """Return what came on top of an earlier look."""
        return Runs(self.count - before.count, self.seconds - before.seconds, self.skipped - before.skipped)


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a process and of the children that it waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) * TICK


def memory_bytes(pid: int, name: str = "VmRSS") -> int:
    """Return a figure of /proc/PID/status, 0 where the process is gone. VmRSS: resident now; VmHWM: at most, so far."""
    with suppress(OSError):
        found = re.search(rf"^{name}:\s*(\d+) kB$", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"), re.MULTILINE)
        return int(found[1]) * 1024 if found else 0
    return 0


def family(pid: int) -> list[int]:
    """Return a process and its children."""
    found = [pid]
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text(encoding="ascii").split())
    return found


def programs(pid: int) -> set[int]:
    """Return the numbers of the BPF programs that a process holds, or is attached by."""
    found = set()
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(OSError):
            found |= {int(number) for number in PROGRAM.findall(path.read_text(encoding="ascii"))}
    return found


def program_runs(pid: int, names: tuple[str, ...] = ("",)) -> Runs:
    """Return the sum over a process's programs, of those whose names begin like one of these."""
    done = subprocess.run([tool("bpftool"), "-j", "prog", "list"], capture_output=True, check=True, text=True)
    held = programs(pid)
    rows = [row for row in json.loads(done.stdout) if row["id"] in held and row.get("name", "").startswith(names)]
    count, nanoseconds, skipped = (sum(row.get(name, 0) for row in rows) for name in FIGURES)
    return Runs(count, nanoseconds / 1e9, skipped)


def wait_until_quiet(pid: int, window: float = 0.4, patience: float = 60) -> None:
    """Wait until a process had next to nothing to do for a while: it has started, or has dealt with all that came."""
    end = time.monotonic() + patience
    before, since = cpu_seconds(pid), time.monotonic()
    while time.monotonic() < end:
        time.sleep(window)
        now, when = cpu_seconds(pid), time.monotonic()
        if now - before <= QUIET * (when - since):
            return
        before, since = now, when
    raise TimeoutError(f"process {pid} was still busy after {patience} s")


@contextmanager
def bpf_stats() -> Iterator[None]:
    """Have the kernel measure all BPF programs, which costs each run some time, and leave things as they were."""
    before = STATS.read_text(encoding="ascii")
    STATS.write_text("1", encoding="ascii")
    try:
        yield
    finally:
        STATS.write_text(before, encoding="ascii")
