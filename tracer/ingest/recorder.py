"""Writes recordings (recording.py has their format): all that readings have, but nothing twice.

An idle machine's readings differ in their times alone. Such a reading is kept back, and written only when the last one that was
written is IDLE_NS old, or at the end: so that a replay ends when the recording did, and what is cut off is never long ago.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.decode import LAYOUT
from tracer.ingest.figureframes import FigureWriter, is_first
from tracer.ingest.figures import Figures
from tracer.ingest.openrows import OpenWriter
from tracer.ingest.recording import FRAME, MAGIC, PAIR, START, VERSION
from tracer.ingest.recordingnotes import Named, NoteWriter, Whose
from tracer.ingest.snapshot import Snapshot
from tracer.ingest.source import Context, Reading, Writes
from tracer.ingest.workloads import Workload

IDLE_NS = 10_000_000_000


def nobodys(_cgroup: int) -> Workload:
    """Return that a cgroup is nobody's."""
    return Workload()


class Recorder:
    """Writes readings to a binary file, in their order. whose, named: tell of cgroups and namespaces, while they are there."""

    def __init__(self, file: BinaryIO, context: Context, whose: Whose = nobodys, named: Named = str) -> None:
        header = json.dumps(
            {
                "layout": LAYOUT.identity,
                "record_size": LAYOUT.size,
                "context": {**vars(context), "reset_reasons": dict(context.reset_reasons)},
            }
        ).encode()
        self._file = file
        self._notes = NoteWriter(whose, named)
        self._open, self._figures = OpenWriter(), FigureWriter()
        self._cells: NDArray[np.uint64] | None = None
        self._time_ns = 0
        self.size = 0
        self._put(START.pack(MAGIC, VERSION, len(header)) + header)

    def write(self, reading: Reading) -> None:
        """Append one reading; raises OSError when the disk is full."""
        if len(reading.records):
            self._frame(b"EVNT", reading.time_ns, reading.records.tobytes())
        if note := self._notes.note(reading):
            self._frame(b"NOTE", reading.time_ns, note)
        if looked := self._open.due(reading.open_rows, reading.time_ns):
            self._frame(b"OPEN", reading.time_ns, looked)
        if figures := self._figures.due(figures_of(reading), reading.time_ns):
            self._frame(b"FIGS", reading.time_ns, figures)
        if self._cells is None:
            self._frame(b"CELL", reading.time_ns, reading.cells.astype("<u8").tobytes())
        else:
            self._frame(b"DIFF", reading.time_ns, changed_cells(self._cells, reading.cells))
        self._cells, self._time_ns = reading.cells.copy(), reading.time_ns

    def end(self) -> None:
        """Append the last that is known of the open connections, as a reading in which nothing happened."""
        if self._cells is None:
            return
        looked, figures = self._open.last(self._time_ns), self._figures.last(self._time_ns)
        if looked is not None:
            self._frame(b"OPEN", self._time_ns, looked)
        if figures is not None:
            self._frame(b"FIGS", self._time_ns, figures)
        if looked is not None or figures is not None:
            self._frame(b"DIFF", self._time_ns, changed_cells(self._cells, self._cells))

    def flush(self) -> None:
        """Hand all that was written to the kernel."""
        self._file.flush()

    def _frame(self, tag: bytes, time_ns: int, payload: bytes) -> None:
        packed = zlib.compress(payload, 1)
        self._put(FRAME.pack(tag, len(packed), time_ns) + packed)

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self.size += len(data)


def changed_cells(before: NDArray[np.uint64], now: NDArray[np.uint64]) -> bytes:
    """Return what a DIFF frame has."""
    places = np.flatnonzero(before != now)
    pairs = np.empty(len(places), PAIR)
    pairs["cell"], pairs["count"] = places, now[places]
    return pairs.tobytes()


class Ends(Writes, Protocol):
    """What takes readings, and is told when there are no more."""

    def end(self) -> None:
        """Write what is to be written at the end."""


class Sparing:
    """Hands on what has news, and of what has none as much as is said above."""

    def __init__(self, onto: Ends) -> None:
        self._onto = onto
        self._last: Reading | None = None
        self._waiting: Reading | None = None
        self._netns: frozenset[int] = frozenset()

    def write(self, reading: Reading) -> None:
        """Take a reading; raises what the one behind it raises."""
        figures = figures_of(reading)
        due = self._last is None or reading.time_ns - self._last.time_ns >= IDLE_NS or has_news(self._last, reading)
        if due or is_first(figures, self._netns):
            self._last, self._waiting = reading, None
            self._netns |= figures.netns if figures else frozenset()
            self._onto.write(reading)
        else:
            self._waiting = reading

    def end(self) -> None:
        """Hand on what was kept back, and that there is no more."""
        if self._waiting:
            self._onto.write(self._waiting)
            self._waiting = None
        self._onto.end()


def has_news(last: Reading, now: Reading) -> bool:
    """Say whether a reading has more than another time."""
    return bool(
        len(now.records)
        or now.remains
        or (now.kernel_counts and (last.kernel_counts is None or now.kernel_counts.after != last.kernel_counts.after))
        or now.anchor_ns != last.anchor_ns
        or now.programs != last.programs
        or (now.snapshot is not last.snapshot and _without_times(now.snapshot) != _without_times(last.snapshot))
        or not np.array_equal(now.cells, last.cells)
    )


def figures_of(reading: Reading) -> Figures | None:
    """Return the figures of open connections that a reading has."""
    return reading.snapshot.figures if reading.snapshot else None


def _without_times(snapshot: Snapshot | None) -> Snapshot | None:
    """Return what a snapshot says but for when, and forecasts, which move by themselves."""
    if snapshot is None:
        return None
    ports = tuple(replace(use, forecast_seconds=None) for use in snapshot.ports)
    moments = tuple(moment._replace(start_ns=0, end_ns=0) for moment in snapshot.moments)
    return replace(snapshot, time_ns=0, duration_seconds=0.0, ports=ports, moments=moments, figures=None)


class Rotating:
    """Writes one recording after the other, each of which can be read alone. due: says of size and ns when a new one begins.

    next_file: gives the file of the next one. Counters begin at 0 in each, and its first reading is where the last one ended:
    this has the open connections, and is no part of the size that is given to due. It is one that has the kernel's counters
    (one a second), so that the audit of a file is of all that it has, but for the last second of the last one.
    """

    def __init__(
        self,
        next_file: Callable[[], BinaryIO],
        context: Context,
        whose: Whose,
        due: Callable[[int, int], bool],
        named: Named = str,
    ) -> None:
        self._next_file = next_file
        self._context = context
        self._whose, self._named = whose, named
        self._due = due
        self._began_ns = 0
        self._base: NDArray[np.uint64] | None = None
        self._first_size = 0
        self._recorder = Recorder(next_file(), context, whose, named)

    def write(self, reading: Reading) -> None:
        """Append a reading, and begin a new recording when the present one has had enough."""
        self._began_ns = self._began_ns or reading.time_ns
        self._put(reading)
        if reading.kernel_counts and self._due(self._recorder.size - self._first_size, reading.time_ns - self._began_ns):
            self._turn(reading)

    def end(self) -> None:
        """Append what the present recording is to end with."""
        self._recorder.end()

    def _turn(self, last: Reading) -> None:
        """Begin the next recording with the last reading of the present one."""
        self.end()
        self.flush()
        self._began_ns, self._base = last.time_ns, last.cells.copy()
        context = replace(self._context.at(last), start_ns=last.time_ns)
        self._recorder, self._first_size = Recorder(self._next_file(), context, self._whose, self._named), 0
        self._put(replace(last, records=last.records[:0], remains=()))

    def _put(self, reading: Reading) -> None:
        self._recorder.write(reading if self._base is None else replace(reading, cells=reading.cells - self._base))
        self._first_size = self._first_size or self._recorder.size

    def flush(self) -> None:
        """Hand all that was written to the kernel."""
        self._recorder.flush()
