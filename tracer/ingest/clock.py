"""The kernel's clock, which stamps the records, and where the wall clock is beside it.

Records carry bpf_ktime_get_ns(): CLOCK_MONOTONIC as the machine has it. In a time namespace a process reads another one, by an
offset that /proc/self/timens_offsets tells; every comparison with a record's time takes kernel_ns(), which is without it.
CLOCK_MONOTONIC stands still in suspend, and the wall clock can be set: so where it is, the anchor, is measured at each reading.
"""

from __future__ import annotations

import re
import time
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from tracer.errors import TcptraceError

OFFSETS = Path("/proc/self/timens_offsets")
_MONOTONIC = re.compile(r"^\s*(?:monotonic|1)\s+(-?\d+)\s+(\d+)\s*$", re.MULTILINE)

STEP_NS = 1_000_000
"""By how much two measures of an anchor must differ, beyond their own uncertainty, to be a step and no chance."""

TRIES = 3


def parse_offset(text: str) -> int:
    """Return the nanoseconds by which a time namespace's CLOCK_MONOTONIC is ahead, from its table of offsets."""
    found = _MONOTONIC.search(text)
    return int(found[1]) * 1_000_000_000 + int(found[2]) if found else 0


@lru_cache
def offset_ns() -> int:
    """Return by how much this process's CLOCK_MONOTONIC is ahead of the kernel's; 0 outside of time namespaces.

    Raises TcptraceError where that cannot be known: the table is of the namespace that children get.
    """
    try:
        text = OFFSETS.read_text("ascii")
        own, childrens = (Path(f"/proc/self/ns/{name}").readlink() for name in ("time", "time_for_children"))
    except OSError:  # a kernel without time namespaces
        return 0
    if own != childrens:
        raise TcptraceError(
            "the times of events cannot be told: this process and its children are in different time namespaces",
            "start it as a child: unshare --time --fork, or nsenter --time",
        )
    return parse_offset(text)


def kernel_ns() -> int:
    """Return the present time on the clock of the records."""
    return time.monotonic_ns() - offset_ns()


class Measure(NamedTuple):
    """Nanoseconds to add to the kernel's clock to get Unix time, and how far the truth may be from that."""

    anchor_ns: int
    uncertainty_ns: int


def measure() -> Measure:
    """Return the best of a few measures: the wall clock between two looks at the other one."""
    measures = []
    for _ in range(TRIES):
        before, wall, after = kernel_ns(), time.time_ns(), kernel_ns()
        measures.append(Measure(wall - (before + after) // 2, after - before))
    return min(measures, key=lambda one: one.uncertainty_ns)


class Anchor:
    """Where the wall clock is beside the kernel's: the same number until it is set, or the machine was suspended.

    Both clocks are slewed alike, so that nothing else moves it; the chance in each measure must not move events.
    """

    def __init__(self) -> None:
        self.ns = measure().anchor_ns

    def look(self, now: Measure) -> int:
        """Return the anchor, which a new measure moves when it shows a step."""
        if abs(now.anchor_ns - self.ns) > STEP_NS + now.uncertainty_ns:
            self.ns = now.anchor_ns
        return self.ns
