from __future__ import annotations

import numpy as np

from tracer.model.grid import Grid
from tracer.model.labels import FIXED, MAX_SETS


def test_what_is_there_stays_where_it_is_when_there_are_more_rows() -> None:
    grid = Grid(2, np.uint64)
    grid.add(np.array([0, 0]), 1)
    grid.reserve(100)
    assert grid.values[0].tolist() == [0, 2]
    assert not grid.values[1:].any()


def test_a_bound_on_label_sets_is_one_on_memory_however_they_came() -> None:
    for first in (5, 1980):
        grid = Grid(1, np.uint64)
        for rows in (first, FIXED + MAX_SETS):
            grid.reserve(rows)
        assert len(grid.values) == FIXED + MAX_SETS


def test_what_was_taken_of_some_rows_does_not_change() -> None:
    grid = Grid(1, np.uint64)
    grid.reserve(3)
    taken = [grid.snapshot(np.array([0, 2])), grid.snapshot(slice(2))]
    grid.add(np.array([0]), 0)
    assert [one.sum() for one in taken] == [0, 0]
    assert not any(one.flags.writeable for one in taken)
