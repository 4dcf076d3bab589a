"""The exact counters: the mapped array that the programs count in, and the kernel's own figures of each program."""

from __future__ import annotations

import mmap
import os
import re
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.decode import LAYOUT
from tracer.ingest.source import Program

TWICE = "inet_sock_set_state"
"""The program that is attached twice."""

_PROGRAM_ID = re.compile(rb"^prog_id:\s*(\d+)$", re.MULTILINE)
_FIGURE = re.compile(rb"^(run_time_ns|run_cnt|recursion_misses):\s*(\d+)$", re.MULTILINE)


EVENTS_LOST, EVENTS_REFUSED = (LAYOUT.enums["counter"][f"COUNTER_EVENTS_{name}"] for name in ("LOST", "REFUSED"))


class Refused:
    """Counts those of the lost records for which the ring had room, into the cell that the kernel leaves to the reader.

    A ring may refuse a record although there is room: its lock is one that can fail where the kernel fears a deadlock
    (rqspinlock, Linux 6.15). bcc has no way to ask for its fill in the kernel, but the reader sees how much it had to take.
    """

    def __init__(self) -> None:
        self._lost = self._refused = 0

    def add(self, cells: NDArray[np.uint64], *, was_full: bool) -> NDArray[np.uint64]:
        """Return the cells with that count. was_full: whether the ring was, at any time since the last call."""
        lost = int(cells[EVENTS_LOST])
        if not was_full:
            self._refused += lost - self._lost
        self._lost = lost
        cells[EVENTS_REFUSED] = self._refused
        return cells


class Counters:
    """The counter map, whose rows are CPUs' and programs'; read without a system call."""

    def __init__(self, fd: int, rows: int, cells: int) -> None:
        size = rows * cells * 8
        self._map = mmap.mmap(fd, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ)
        self._rows = np.frombuffer(self._map, np.uint64, rows * cells).reshape(rows, cells)

    def read(self) -> NDArray[np.uint64]:
        """Return the cells summed over rows, shape (cells,), dtype uint64."""
        return np.asarray(self._rows.sum(axis=0), np.uint64)

    def close(self) -> None:
        """Unmap; the array over the mapping goes first."""
        del self._rows
        self._map.close()


def parse_program(name: str, text: bytes) -> Program:
    """Return a program's figures from the text of /proc/PID/fdinfo of its descriptor.

    recursion_misses is there since Linux 5.12; a figure that is not there is 0.
    """
    figures = {key.decode(): int(value) for key, value in _FIGURE.findall(text)}
    return Program(
        name, True, figures.get("run_cnt", 0), figures.get("run_time_ns", 0) / 1e9, figures.get("recursion_misses", 0)
    )


class Misses:
    """Says how many runs were skipped and not compensated, of the one program whose can be (bpf/twice.h); never falls.

    Both counts go on while they are read, so that their difference can be too low or, by one that is compensated just then, too
    high. What was missed at two looks running was missed.
    """

    def __init__(self) -> None:
        self._last = 0
        self._certain = 0

    def without_rescued(self, programs: tuple[Program, ...], cells: NDArray[np.uint64]) -> tuple[Program, ...]:
        """Return the programs with only those misses that were not compensated; cells: read after the programs."""
        rescued = int(cells[LAYOUT.enums["counter"]["COUNTER_RESCUED"]])
        return tuple(
            replace(program, misses=self._unrescued(program.misses - rescued)) if program.name == TWICE else program
            for program in programs
        )

    def _unrescued(self, now: int) -> int:
        self._certain = max(self._certain, min(self._last, now))
        self._last = now
        return self._certain


class Programs:
    """The attached programs. Their fdinfo is opened at the start: after the drop of privileges its owner is root.

    descriptors: program name to its descriptor and its attachment's. held: the attachments of second programs (bpf/twice.h).
    absent: names of programs that this kernel cannot have. Closing this closes all descriptors, and detaches.
    """

    def __init__(
        self, descriptors: dict[str, tuple[int, int]], held: tuple[int, ...] = (), absent: tuple[str, ...] = ()
    ) -> None:
        self._descriptors = descriptors
        self._held = held
        self._files = {
            name: [_open_info(fd) for fd in (*pair, *(held if name == TWICE else ()))] for name, pair in descriptors.items()
        }
        self._ids = {name: self._read_ids(name) for name in descriptors}
        self._last = {name: Program(name, False, 0, 0.0, 0) for name in (*descriptors, *absent)}

    def read(self) -> tuple[Program, ...]:
        """Return every program's present figures; of one that is attached no more the last ones."""
        for name, files in self._files.items():
            if None in self._ids[name] or self._read_ids(name) != self._ids[name]:
                self._last[name] = replace(self._last[name], attached=False)
            else:
                self._last[name] = parse_program(name, os.pread(files[0], 4096, 0))
        return tuple(self._last.values())

    def close(self) -> None:
        """Close everything; with the last descriptor the kernel detaches and frees the programs."""
        for pair in self._descriptors.values():
            for fd in pair:
                os.close(fd)
        for fd in (*(fd for files in self._files.values() for fd in files), *self._held):
            os.close(fd)
        self._descriptors, self._files, self._held = {}, {}, ()

    def _read_ids(self, name: str) -> list[bytes | None]:
        """Return which program is behind each descriptor: b'' where there is none, None where the descriptor is closed."""
        return [_program_id(fd) for fd in self._files[name]]


def _open_info(fd: int) -> int:
    return os.open(f"/proc/self/fdinfo/{fd}", os.O_RDONLY)


def _program_id(file: int) -> bytes | None:
    try:
        found = _PROGRAM_ID.search(os.pread(file, 4096, 0))
    except OSError:
        return None
    return found[1] if found else b""
