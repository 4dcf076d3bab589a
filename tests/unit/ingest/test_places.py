"""The reader's side of what the kernel counts by itself: tables in memory, in which these tests write as bpf/tally.h does."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from mmap import PAGESIZE, mmap

import numpy as np
import pytest

from tests.unit.addresses import column
from tracer.ingest import places as module
from tracer.ingest.buckets import BOUNDS_NS
from tracer.ingest.clock import kernel_ns
from tracer.ingest.counted import BUCKETS, PLACE, TABLES
from tracer.ingest.places import ROWS, STAYS, TALLIES, Places
from tracer.ingest.snapshot import MARGIN_NS

CPUS, PER_CPU = 2, 4
ROW_COUNT = CPUS * PER_CPU
LIMITS = TABLES.enums["tally_limit"]
BUSY, LEAVING = LIMITS["TALLY_BUSY"], LIMITS["TALLY_LEAVING"]
HANDSHAKE, DURATION, SRTT = 0, 1, 2


class Kernel:
    """The other side of the tables."""

    def __init__(self) -> None:
        self.fds = []
        tables = []
        for name, dtype, rows in (("places", ROWS, ROW_COUNT), ("tallies", TALLIES, ROW_COUNT), ("stays", STAYS, CPUS)):
            fd, size = os.memfd_create(name), -(-rows * dtype.itemsize // PAGESIZE) * PAGESIZE
            os.ftruncate(fd, size)
            self.fds.append(fd)
            tables.append(np.frombuffer(mmap(fd, size), dtype, rows))
        self.places, self.tallies, self.stays = tables

    def put(self, row: int, port: int, *, role: int = 2, local: str = "10.0.0.1", steps: int = BUSY) -> None:
        """Have a place in a row."""
        place = self.places[row]
        place["netns"], place["port"], place["role"] = 7, port, role
        place["local"] = column(local).view(np.uint64)
        place["steps"] = steps

    def count(self, row: int, which: int, ns: int) -> None:
        """Count a time of a connection."""
        tally = self.tallies[row]
        tally["counts"][which * BUCKETS + int(np.searchsorted(BOUNDS_NS, ns))] += 1
        tally["sum_ns"][which] += ns
        tally["most_ns"][which] = max(tally["most_ns"][which], ns)
        tally["steps"] += which != SRTT


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def places(kernel: Kernel) -> Iterator[Places]:
    found = Places(kernel.fds, ROW_COUNT, CPUS)
    yield found
    found.close()


def numbers(places: Places) -> list[dict[int, tuple[int, int]]]:
    """Return for each look what was counted, by port."""
    return [
        {
            int(place["port"]): (int(look.handshakes.counts[at].sum()), int(look.durations.counts[at].sum()))
            for at, place in enumerate(look.places)
        }
        for look in places.take()
    ]


def test_nothing_is_counted_before_the_first_look_at_all_sockets(kernel: Kernel, places: Places) -> None:
    assert not kernel.stays["since_ns"].any()
    with places.apart():
        assert not kernel.stays["since_ns"].any()
    assert (kernel.stays["since_ns"] > kernel_ns()).all()


def test_rows_of_cpus_make_one_place(kernel: Kernel, places: Places) -> None:
    for row, port in ((1, 80), (PER_CPU + 2, 80), (3, 443)):
        kernel.put(row, port)
    for row, which, ns in (
        (1, HANDSHAKE, 5_000),
        (6, HANDSHAKE, 9_000_000),
        (6, DURATION, 2),
        (6, SRTT, 40),
        (3, HANDSHAKE, 1),
    ):
        kernel.count(row, which, ns)
    kernel.tallies["figures"][6] = range(1, 9)
    kernel.tallies["time_waits"][6] = 1
    kernel.stays["counts"][1, 3 * BUCKETS + 17] = 5
    kernel.stays["sum_ns"][:, 3], kernel.stays["most_ns"][:, 3] = (10, 20), (4, 3)
    (look,) = places.take()
    assert look.places.dtype == PLACE
    assert look.places["port"].tolist() == [80, 443]
    assert look.places["local"][0].tobytes() == column("10.0.0.1").tobytes()
    assert look.handshakes.counts.sum(axis=1).tolist() == [2, 1]
    assert look.handshakes.sums.tolist() == [9_005_000, 1]
    assert look.handshakes.most.tolist() == [9_000_000, 1]
    assert look.durations.counts.sum(axis=1).tolist() == look.srtt.counts.sum(axis=1).tolist() == [1, 0]
    assert look.time_waits.tolist() == [1, 0]
    assert look.figures.tolist() == [[1, 2, 3, 4, 5, 6000, 7000, 8000], [0] * 8]
    assert look.states.counts[3, 17] == look.states.counts.sum() == 5
    assert (look.states.sums[3], look.states.most[3]) == (30, 4)


def test_each_look_has_what_came_since_the_last_one(kernel: Kernel, places: Places) -> None:
    kernel.put(0, 80)
    kernel.tallies["counts"][0, 30] = (1 << 32) - 1
    kernel.tallies["steps"][0] = 1
    assert [*numbers(places), *numbers(places)] == [{80: ((1 << 32) - 1, 0)}]
    kernel.tallies["counts"][0, 30] = 1  # it has begun anew
    kernel.tallies["steps"][0] = 3
    assert numbers(places) == [{80: (2, 0)}]


def test_a_place_that_is_not_busy_is_not_looked_at(kernel: Kernel, places: Places) -> None:
    kernel.put(0, 80, steps=BUSY - 1)
    kernel.count(0, HANDSHAKE, 5)
    assert numbers(places) == []
    assert not len(places.busy())


def test_what_was_counted_before_a_dump_is_as_old_as_its_beginning(kernel: Kernel, places: Places) -> None:
    kernel.put(0, 80)
    kernel.count(0, HANDSHAKE, 5)
    before = kernel_ns()
    with places.apart():
        began = kernel_ns()
    after = kernel_ns()
    kernel.count(0, DURATION, 5)
    first, second = places.take()
    assert before <= first.time_ns <= began - MARGIN_NS
    assert second.time_ns >= after
    assert (kernel.stays["since_ns"] >= after).all()


def test_a_program_that_counts_just_then_is_waited_for(kernel: Kernel, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long that takes: what it counts is older than what is found by the look at all sockets."""
    kernel.put(0, 80)
    kernel.stays["busy"][1] = 1
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 5:
            kernel.count(0, HANDSHAKE, 5)
            kernel.stays["busy"][1] = 0

    monkeypatch.setattr(time, "sleep", sleep)
    with places.apart():
        began = kernel_ns()
    (look,) = places.take()
    assert look.time_ns <= began
    assert len(pauses) == 5
    assert look.handshakes.counts.sum() == 1


def test_an_end_is_never_read_before_its_handshake(kernel: Kernel, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although it is in another CPU's row, and both come while the rows are read."""
    kernel.put(0, 80)
    kernel.put(PER_CPU, 80)
    kernel.count(PER_CPU, HANDSHAKE, 5)

    def come() -> None:
        for row, which in came.copy():
            kernel.count(row, which, 5)
        came.clear()

    came = [(0, HANDSHAKE), (PER_CPU, DURATION)]
    monkeypatch.setattr(module, "order_loads", come)
    assert numbers(places) == [{80: (2, 0)}]
    assert numbers(places) == [{80: (0, 1)}]


class Clock:
    """The kernel's clock, which stands still."""

    def __init__(self) -> None:
        self.now = kernel_ns()

    def __call__(self) -> int:
        return self.now


def idle(kernel: Kernel, places: Places, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Have a place in row 0 that has counted nothing for so long that it leaves; return the clock that says so."""
    clock = Clock()
    monkeypatch.setattr(module, "kernel_ns", clock)
    kernel.put(0, 80)
    kernel.count(0, HANDSHAKE, 5)
    assert numbers(places) == [{80: (1, 0)}]
    clock.now += module.IDLE_NS + 1
    assert numbers(places) == []
    return clock


def test_an_idle_place_gives_its_room_to_others(kernel: Kernel, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = idle(kernel, places, monkeypatch)
    assert kernel.places["steps"][0] == LEAVING
    kernel.count(0, DURATION, 5)  # by a program that had looked before
    clock.now += MARGIN_NS + 1
    assert numbers(places) == [{80: (0, 1)}]
    assert kernel.places["steps"][0] == LEAVING
    clock.now += MARGIN_NS + 1
    assert numbers(places) == []
    assert kernel.places["steps"][0] == 0
    assert not any(kernel.tallies[0].tobytes())
    kernel.put(0, 443)
    kernel.count(0, HANDSHAKE, 7)
    (look,) = places.take()
    assert (look.places["port"].tolist(), look.handshakes.most.tolist()) == ([443], [7])


def test_a_place_keeps_its_room_while_a_program_counts(kernel: Kernel, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = idle(kernel, places, monkeypatch)
    kernel.stays["busy"][1] = 1
    clock.now += MARGIN_NS + 1
    assert numbers(places) == []
    kernel.count(0, DURATION, 5)
    kernel.stays["busy"][1] = 0
    assert numbers(places) == [{80: (0, 1)}]


def test_counts_take_memory_while_a_place_is_busy(kernel: Kernel, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    now = kernel_ns()
    monkeypatch.setattr(module, "kernel_ns", lambda: now)
    taken = []
    for later, steps in ((0, 0), (0, BUSY), (module.IDLE_NS + 1, LEAVING), (MARGIN_NS + 1, 0)):
        now += later
        if steps == BUSY:
            kernel.put(0, 80)
            kernel.count(0, HANDSHAKE, 5)
        places.take()
        assert kernel.places["steps"][0] == steps
        taken.append(places.nbytes)
    places.take()
    all_rows = ROW_COUNT * TALLIES.itemsize
    assert [*taken, places.nbytes] == [0, all_rows, all_rows, all_rows, 0]
