"""How long it takes from exec to the first sign of being attached, and what memory that needs.

The sign is what a user sees on a terminal: tcptrace says "attached after", the others print the heads of their columns.
"""

from __future__ import annotations

import os
import pty
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from threading import Event, Thread

from tests.bench.process import cpu_seconds, family, memory_bytes, wait_until_quiet
from tests.bench.tables import show
from tests.bench.tools import COMPARED, PATIENCE, Tool, launch, line_up

LOOK_SECONDS = 0.005


@dataclass(frozen=True)
class Sample:
    """One start. seconds: to the sign; cpu: seconds, of children too; peak and resident: bytes, of the largest process."""

    seconds: float
    cpu: float
    peak: int
    resident: int


class Peak:
    """Watches a process and its children, and keeps the largest memory that one of them had."""

    def __init__(self, pid: int) -> None:
        self.bytes = 0
        self._done = Event()
        self._thread = Thread(target=self._watch, args=(pid,))
        self._thread.start()

    def _watch(self, pid: int) -> None:
        while not self._done.wait(LOOK_SECONDS):
            self.bytes = max(self.bytes, *(memory_bytes(member, "VmHWM") for member in family(pid)))

    def stop(self) -> int:
        """Stop watching and return the peak."""
        self._done.set()
        self._thread.join()
        return self.bytes


def sample(tool: Tool) -> Sample:
    """Start a tool on a terminal of its own, and end it."""
    ours, theirs = pty.openpty()
    begin = time.monotonic()
    process = launch(tool, theirs, theirs)
    os.close(theirs)
    with process:
        try:
            peak = Peak(process.pid)
            _read_until(ours, b"attached after" if tool.ours else b"PID")
            seconds = time.monotonic() - begin
            largest = peak.stop()
            wait_until_quiet(process.pid)
            return Sample(seconds, cpu_seconds(process.pid), largest, memory_bytes(process.pid))
        finally:
            process.kill()
            os.close(ours)


def _read_until(terminal: int, sign: bytes) -> None:
    seen = b""
    end = time.monotonic() + PATIENCE
    while sign not in seen:
        assert time.monotonic() < end, f"no {sign!r} in a minute"
        seen += os.read(terminal, 4096)


def start(rounds: int) -> None:
    """Print what each tool's start takes."""
    with tempfile.TemporaryDirectory() as directory:
        line = line_up(COMPARED, Path(directory))
        samples: dict[Tool, list[Sample]] = {tool: [] for tool in line.tools}
        for _ in range(rounds):
            for tool, taken in samples.items():
                taken.append(sample(tool))
    show(
        f"Start: medians of {rounds} interleaved rounds",
        ["tracer", "attached after s", "CPU s", "peak MB", "resident MB"],
        [_row(tool, taken) for tool, taken in samples.items()] + [[name, why] for name, why in line.left_out.items()],
        "From exec to the first line that says so. Peak: of the largest process until then, for tcptrace its loader, which is "
        "gone afterwards; resident: when it has come to rest.",
        *line.notes,
    )


def _row(tool: Tool, taken: Sequence[Sample]) -> list[str]:
    return [
        tool.name,
        f"{median(s.seconds for s in taken):.2f}",
        f"{median(s.cpu for s in taken):.2f}",
        f"{median(s.peak for s in taken) / 1e6:.0f}",
        f"{median(s.resident for s in taken) / 1e6:.0f}",
    ]
