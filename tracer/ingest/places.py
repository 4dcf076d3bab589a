"""What the kernel has counted of busy places, and which of them are quiet again: the reader's side of bpf/tally.h.

Everything is in mapped memory, so that it needs no rights and no system call.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.clock import kernel_ns
from tracer.ingest.counted import BUCKETS, PLACE, TABLES, TIMED_STATES, Counted, Times
from tracer.ingest.decode import dtype_of
from tracer.ingest.parts import Own, Parts
from tracer.ingest.ring import order_loads
from tracer.ingest.snapshot import MARGIN_NS
from tracer.kernel.buckets import edges

IDLE_NS = 10_000_000_000
"""A place that counted nothing for so long gives its room to others."""

PATIENCE_SECONDS, PAUSE_SECONDS = 1.0, 0.001
"""How long programs that are not done are waited for, and how long until they are looked at again."""

_LIMITS = TABLES.enums["tally_limit"]
_BUSY, _LEAVING, _CELLS = _LIMITS["TALLY_BUSY"], _LIMITS["TALLY_LEAVING"], _LIMITS["TALLY_CELLS"]
ROWS, TALLIES, STAYS = (dtype_of(TABLES.structs[name]) for name in ("place", "tally", "stays"))
_DURATION = TABLES.enums["tally_time"]["TALLY_DURATION"]
_SUMS = {"time_waits": np.add, "figures": np.add, "sum_ns": np.add, "counts": np.add, "most_ns": np.maximum}
"""How rows of CPUs make one."""
_UNITS = np.array([1, 1, 1, 1, 1, 1000, 1000, 1000], np.uint64)
"""Of FIGURES in the kernel's, which has times in milliseconds."""


class Places:
    """The busy places.

    fds: of the tables `places`, `tallies` and `stays` (bpf/maps.h), taken over. rows: of the first two; cpus: of the last.
    Nothing is counted before the first look at all sockets (apart()), which tells what is open then.
    Safe for two threads: one reads the ring and takes what was counted, another one looks at all sockets.
    """

    def __init__(self, fds: Sequence[int], rows: int, cpus: int) -> None:
        places, tallies, stays = self._fds = tuple(fds)
        self._places, self._stays = _mapped(places, rows, ROWS), _mapped(stays, cpus, STAYS)
        self._tallies, self._last = Parts(tallies, rows, TALLIES), Own(rows, TALLIES)
        self._last_stays = np.zeros(cpus, STAYS)
        self._active_ns = np.zeros(rows, np.int64)
        self._apart_ns: int | None = None
        self._waiting: list[Counted] = []
        self._lock = threading.Lock()
        self._stays["edges"] = edges(_CELLS)

    def busy(self) -> NDArray[np.intp]:
        """Return the rows that are counted, shape (n,)."""
        return np.flatnonzero(self._places["steps"] >= _BUSY)

    @property
    def nbytes(self) -> int:
        """How much of the kernel's counts is mapped."""
        return self._tallies.nbytes

    def netns(self) -> NDArray[np.uint32]:
        """Return the network namespace of each of these, shape (n,)."""
        netns: NDArray[np.uint32] = self._places["netns"][self.busy()]
        return netns

    def take(self) -> tuple[Counted, ...]:
        """Return what was counted since this was asked before; to be asked behind the look at the ring."""
        with self._lock:
            self._look()
            taken, self._waiting = tuple(self._waiting), []
        return taken

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Have nothing counted meanwhile: all that happens has records, and what was counted before is known to be older."""
        with self._lock:
            self._stays["since_ns"] = 0
            self._apart_ns = kernel_ns()
        if len(self.busy()):
            self._wait_for_programs()
        with self._lock:
            self._look()
        try:
            yield
        finally:
            with self._lock:
                self._stays["since_ns"] = kernel_ns() + MARGIN_NS
                self._apart_ns = None

    def close(self) -> None:
        """Unmap."""
        with self._lock:
            del self._places, self._tallies, self._stays
            for fd in self._fds:
                os.close(fd)

    def _wait_for_programs(self) -> None:
        """Wait until what began to be counted before this is counted: else it would be as young as the next look."""
        time.sleep(MARGIN_NS / 1e9)
        end, counting = time.monotonic() + PATIENCE_SECONDS, self._stays["busy"] != 0
        while counting.any() and time.monotonic() < end:
            time.sleep(PAUSE_SECONDS)
            counting &= self._stays["busy"] != 0

    def _look(self) -> None:
        """Keep what has come since the last look; in apart() it is as old as that."""
        busy = self.busy()
        self._tallies.keep(busy)
        if not len(busy):
            return
        now_ns, changed = kernel_ns(), self._changed()
        if len(changed):
            self._waiting.append(self._grown(changed, now_ns if self._apart_ns is None else self._apart_ns))
        busy = self.busy()
        fresh = self._active_ns[busy] == 0
        self._active_ns[busy[fresh]] = self._active_ns[changed] = now_ns
        if len(busy) > len(changed):
            self._let_go(busy, now_ns)

    def _changed(self) -> NDArray[np.intp]:
        busy = self.busy()
        return busy[np.flatnonzero(self._tallies.column("steps", busy) != self._last.rows["steps"][busy])]

    def _grown(self, changed: NDArray[np.intp], time_ns: int) -> Counted:
        rows, now = self._consistent(changed)
        grown, of = _growth(now, self._last.rows, rows), _copied(self._places, rows).view(np.uint8).reshape(len(rows), -1)
        places, grown = _by_place(np.ascontiguousarray(of[:, : PLACE.itemsize]).view(PLACE)[:, 0], grown)
        handshakes, durations, srtt = (_times(grown, (len(places), 3), (slice(None), which)) for which in range(3))
        stays = _growth(_copied(self._stays, slice(None)), self._last_stays, slice(None))
        states = _times({name: _SUMS[name].reduce(values) for name, values in stays.items()}, (TIMED_STATES,))
        figures = grown["figures"] * _UNITS
        return Counted(time_ns, places, handshakes, durations, srtt, grown["time_waits"], figures, states)

    def _consistent(self, changed: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.void]]:
        """Return rows and their counts: the ends in these rows, and after them all handshakes.

        So no end is there whose handshake is not, which may be in the row of another CPU.
        """
        ends = self._tallies.copied(changed)
        order_loads()
        rows = self._changed()
        now, last = self._tallies.copied(rows), _copied(self._last.rows, rows)
        last[np.searchsorted(rows, changed)] = ends
        last["counts"][:, :BUCKETS], last["sum_ns"][:, :_DURATION] = now["counts"][:, :BUCKETS], now["sum_ns"][:, :_DURATION]
        last["most_ns"] = now["most_ns"]
        return rows, last

    def _let_go(self, busy: NDArray[np.intp], now_ns: int) -> None:
        """Have idle places counted no more; their room is free later, when no program is at it any more."""
        leaving = self._places["steps"][busy] == _LEAVING
        idle_ns = now_ns - self._active_ns[busy]
        gone, idle = busy[leaving & (idle_ns > MARGIN_NS)], busy[~leaving & (idle_ns > IDLE_NS)]
        if len(gone) and not self._stays["busy"].any():
            self._empty(gone)
        self._places["steps"][idle] = _LEAVING
        self._active_ns[idle] = now_ns

    def _empty(self, rows: NDArray[np.intp]) -> None:
        """Give rows to others at which no program is any more, but for those that one was at since this look."""
        order_loads()
        same = rows[self._tallies.column("steps", rows) == self._last.rows["steps"][rows]]
        self._tallies.empty(same)
        self._active_ns[same] = 0
        order_loads()
        self._places["steps"][same] = 0
        self._last.empty(same, self.busy())


def _mapped(fd: int, rows: int, dtype: np.dtype[np.void]) -> NDArray[np.void]:
    """Return a table of the kernel that both sides write, mapped for as long as there are arrays over it."""
    size = -(-rows * dtype.itemsize // mmap.PAGESIZE) * mmap.PAGESIZE
    found: NDArray[np.void] = np.frombuffer(mmap.mmap(fd, size), dtype, rows)
    return found


def _copied(rows: NDArray[np.void], where: Any) -> NDArray[np.void]:
    """Return some rows as they are now; as plain bytes, since numpy copies structured arrays member by member."""
    copied: NDArray[np.void] = rows.view(f"V{rows.dtype.itemsize}")[where].copy().view(rows.dtype)
    return copied


def _growth(now: NDArray[np.void], last: NDArray[np.void], where: Any) -> dict[str, NDArray[np.uint64]]:
    """Return by how much each count has grown, and keep now as the last; what is a maximum stays as it is."""
    before = last[where]
    names = [name for name in _SUMS if name in (now.dtype.names or ())]
    grown = {name: (now[name] - before[name]).astype(np.uint64) for name in names}  # counts begin anew at 2**32
    last[where] = now
    return {**grown, "most_ns": now["most_ns"]}


def _by_place(
    places: NDArray[np.void], grown: dict[str, NDArray[np.uint64]]
) -> tuple[NDArray[np.void], dict[str, NDArray[np.uint64]]]:
    """Return each place once, and what its rows make together."""
    whole = places.view(f"V{PLACE.itemsize}").tolist()
    numbers = {place: number for number, place in enumerate(dict.fromkeys(whole))}
    order = np.array(sorted(range(len(whole)), key=lambda row: numbers[whole[row]]))
    starts = np.flatnonzero(np.diff([numbers[whole[row]] for row in order], prepend=-1))
    return places[order[starts]], {name: _SUMS[name].reduceat(values[order], starts) for name, values in grown.items()}


def _times(grown: dict[str, NDArray[np.uint64]], shape: tuple[int, ...], which: Any = ...) -> Times:
    """Return histograms of places, or of states. shape: of all that were counted; which: of these."""
    counts = grown["counts"].reshape(*shape, BUCKETS)[which]
    return Times(counts, grown["sum_ns"].reshape(shape)[which], grown["most_ns"].reshape(shape)[which])
