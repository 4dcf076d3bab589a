"""What a source of events is: the one interface between the kernel's side and everything that follows.

Two things implement it, the ring of a running kernel and a recording, so that live and replay are the same code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.aborts import settle
from tracer.ingest.counted import Counted
from tracer.ingest.decode import Events
from tracer.ingest.kernelcounters import KernelCounts
from tracer.ingest.openrows import OpenRows
from tracer.ingest.snapshot import Snapshot
from tracer.ingest.transposed import Transposed


@dataclass(frozen=True)
class Program:
    """What the kernel says of one attached program, from /proc/self/fdinfo of its descriptor.

    runs and run_seconds are zero unless kernel.bpf_stats_enabled is set; misses are runs that the kernel skipped and that
    were not compensated (bpf/twice.h).
    """

    name: str
    attached: bool
    runs: int
    run_seconds: float
    misses: int


ASKED = ("follow", "segments")


@dataclass(frozen=True)
class Context:
    """Where and when the events come from; a recording carries it.

    anchor_ns: nanoseconds to add to an event's time to get Unix time, at the start; each reading has its own.
    missing: what that kernel could not show, in words.
    reset_reasons: names of that kernel's enum sk_rst_reason by value.
    reads: how the programs read sockets: "direct" loads, or "helper" calls where the kernel refuses these; empty: not known.
    start_ns: CLOCK_MONOTONIC when the tracing began, 0 where it is not known. asked: what the programs were asked for besides
    milestones, of ASKED.
    """

    kernel: str
    bcc: str
    anchor_ns: int
    netns: int
    missing: tuple[str, ...] = ()
    reset_reasons: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))
    reads: str = ""
    start_ns: int = 0
    asked: tuple[str, ...] = ()

    def at(self, reading: Reading) -> Context:
        """Return the same with the anchor of a reading."""
        return self if reading.anchor_ns is None else replace(self, anchor_ns=reading.anchor_ns)


class Remains(NamedTuple):
    """What the list of sockets has of an ended connection: its state there, and for how long; time_ns: when it was asked."""

    connection: int
    state: int
    seconds: float
    time_ns: int


@dataclass(frozen=True)
class Reading:
    """Everything that one look at the source gave.

    records: of the ring, since the last reading, shape (n,), dtype EVENT; recordings hold them as they came.
    cells: the exact counters since the start, summed over CPUs, shape (COUNTER_CELLS,), dtype uint64.
    time_ns: of the reading, on the clock of the events (CLOCK_MONOTONIC outside of any time namespace).
    anchor_ns: nanoseconds to add to the times of its events to get Unix time; None: as at the start.
    snapshot: the latest one of all sockets, which may be older than this reading; None before the first.
    kernel_counts: the kernel's own counters around the moment when cells was read, None when they were not looked at.
    remains: what ended connections have left, as far as it was asked for.
    columns: the records by columns, with late resets applied, where nobody wants them whole; then `records` is empty.
    counted: what had no records, as the kernel has counted it by itself, in the order of time_ns.
    """

    records: Events
    cells: NDArray[np.uint64]
    time_ns: int
    programs: tuple[Program, ...] = ()
    snapshot: Snapshot | None = None
    kernel_counts: KernelCounts | None = None
    anchor_ns: int | None = None
    remains: tuple[Remains, ...] = ()
    columns: Transposed | None = None
    counted: tuple[Counted, ...] = ()

    @cached_property
    def events(self) -> Events:
        """The same with late resets applied (aborts.py): what everybody counts and shows."""
        return settle(self.records)

    @property
    def open_rows(self) -> OpenRows | None:
        """The latest look at the open connections one by one, where a recording is made."""
        figures = self.snapshot.figures if self.snapshot else None
        return figures.rows if figures else None


class Source(Protocol):
    """Something to read events from until it is at its end."""

    context: Context

    def read(self) -> Reading | None:
        """Return what has come since the last call without waiting, or None when nothing can come any more."""

    def close(self) -> None:
        """Let go of what the source holds; safe to call twice."""


class Writes(Protocol):
    """What takes readings."""

    def write(self, reading: Reading) -> None:
        """Take one."""
