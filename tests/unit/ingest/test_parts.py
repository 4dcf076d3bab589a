"""A table that is mapped in parts, in a file as the kernel's are in memory."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tracer.ingest.parts import Own, Parts

ROW = np.dtype([("steps", "=u8"), ("counts", "=u4", (30,))])
"""128 bytes, so that a page has no part of a row."""

EACH = mmap.PAGESIZE // ROW.itemsize
ROWS = 3 * EACH + 5


@dataclass
class Table:
    """Both sides of one. theirs: all of it; parts: ours."""

    theirs: NDArray[np.void]
    parts: Parts


@pytest.fixture
def table() -> Iterator[Table]:
    fd, size = os.memfd_create("table"), 4 * mmap.PAGESIZE
    os.ftruncate(fd, size)
    theirs = np.frombuffer(mmap.mmap(fd, size), ROW, ROWS)
    theirs["steps"] = np.arange(ROWS)
    theirs["counts"][:, 7] = np.arange(ROWS) * 2
    yield Table(theirs, Parts(fd, ROWS, ROW))
    os.close(fd)


def test_rows_of_several_parts_come_in_the_order_in_which_they_are_asked_for(table: Table) -> None:
    rows = np.array([ROWS - 1, 0, 2 * EACH, EACH - 1, EACH, 1])
    assert table.parts.column("steps", rows).tolist() == rows.tolist()
    assert table.parts.copied(rows)["counts"][:, 7].tolist() == (rows * 2).tolist()
    assert table.parts.copied(rows[:0]).tolist() == []


def test_only_parts_with_rows_that_are_asked_for_are_mapped_until_no_row_of_theirs_is_kept(table: Table) -> None:
    assert table.parts.nbytes == 0
    table.parts.column("steps", np.array([0, 1, 2 * EACH]))
    assert table.parts.nbytes == 2 * mmap.PAGESIZE
    table.parts.keep(np.array([EACH - 1]))
    assert table.parts.nbytes == mmap.PAGESIZE
    table.parts.keep(np.empty(0, np.intp))
    assert table.parts.nbytes == 0


def test_rows_are_emptied_for_both_sides_and_their_neighbours_stay(table: Table) -> None:
    table.parts.empty(np.array([EACH, ROWS - 1]))
    assert np.flatnonzero(table.theirs["steps"] == 0).tolist() == [0, EACH, ROWS - 1]
    assert np.flatnonzero(table.theirs["counts"].sum(axis=1) == 0).tolist() == [0, EACH, ROWS - 1]


def pages_with_memory(rows: NDArray[np.void]) -> list[bool]:
    """Return of each page of these rows whether there is memory behind it (Documentation/admin-guide/mm/pagemap.rst)."""
    with Path("/proc/self/pagemap").open("rb") as pagemap:
        pagemap.seek(rows.ctypes.data // mmap.PAGESIZE * 8)
        entries = np.frombuffer(pagemap.read(-(-rows.nbytes // mmap.PAGESIZE) * 8), "=u8")
    found: list[bool] = (entries >> np.uint64(62) != 0).tolist()
    return found


def test_rows_of_our_own_take_memory_while_they_are_used() -> None:
    own = Own(ROWS, ROW)
    rows = np.array([0, EACH, EACH + 1, 2 * EACH])
    own.rows["steps"][rows] = 7
    assert pages_with_memory(own.rows)[:3] == [True, True, True]
    own.empty(rows[:2], rows[2:])
    assert pages_with_memory(own.rows)[:3] == [False, True, True]
    own.empty(rows[2:], rows[:0])
    assert pages_with_memory(own.rows)[:3] == [False, False, False]


def test_rows_of_our_own_are_zero_when_they_are_no_longer_used() -> None:
    own = Own(ROWS, ROW)
    rows = np.array([0, EACH, EACH + 1, 2 * EACH])
    own.rows["steps"][rows] = 7
    own.empty(rows[:2], rows[2:])
    assert own.rows["steps"][rows].tolist() == [0, 0, 7, 7]
    own.empty(rows[2:], rows[:0])
    assert not any(own.rows.tobytes())
