"""What one run asks of the kernel side: all that the process that goes on has to know of the programs.

Their text is apart (programs.py): what puts it together takes half a megabyte, which the loader alone needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tracer.kernel.filters import Filters

FAILED_RETRANSMISSIONS = "retransmissions that failed to leave"
"""In `missing` where a kernel's tracepoint does not fire for them; the audit then asks the kernel for their number."""


class Reads(StrEnum):
    """How the kernel's memory is read (bpf/read.h), the fastest first: by loads, by loads of sockets alone, by helper calls."""

    CASTS = "casts"
    TYPED = "typed"
    CALLS = "calls"


@dataclass(frozen=True)
class Settings:
    """What one run asks of the kernel side.

    ring_bytes: a power of two, 0 for what suits the machine. max_connections: entries of the connection
    table, None for what suits the machine.
    states: a record for every state change too. snapshots: sockets are to be counted as well. follow: what it takes to draw a
    connection's life (bpf/follow.h), state changes among it, and handles to look up what it leaves. segments: a record for each
    segment that arrives, too; with positions if follow is set. reads: the fastest way to try. owners: whose process and
    cgroup each connection is, which filters.pid needs, too. counts: whether connections of busy places are counted without
    records (bpf/tally.h); not with owners.
    """

    filters: Filters
    ring_bytes: int = 0
    max_connections: int | None = None
    states: bool = False
    snapshots: bool = False
    follow: bool = False
    segments: bool = False
    reads: Reads = Reads.CASTS
    owners: bool = True
    counts: bool = False

    @property
    def whole_records(self) -> bool:
        """Whether records are to have all of struct event, and not its beginning alone."""
        return self.owners or self.states or self.follow or self.segments
