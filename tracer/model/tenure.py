"""Which rows of the grids belong to label sets, since when, and how much was counted there: who leaves when room is needed.

A set's weight is the number of its records, halved for every HALF_LIFE_NS without one: the smallest and stalest leave first. A
new set always has a row, as the one that starts after a flood of others is the one that is looked for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]

HALF_LIFE_NS = 600_000_000_000


class Tenure:
    """Rows that are taken and given back. fixed: rows that always are there, the first ones. limit: rows in all.

    listens: those whose service somebody listens for, as many as leave room for others; set from outside (listeners.py).
    """

    def __init__(self, fixed: int, limit: int) -> None:
        self._fixed, self.limit = fixed, limit
        self._free: list[int] = []
        self._taken = 0
        self._rows = fixed
        self.serials = np.zeros(limit, np.int64)
        self.records = np.zeros(limit, np.uint64)
        self.born_ns = np.zeros(limit, np.int64)
        self.active_ns = np.zeros(limit, np.int64)
        self.listens = np.zeros(limit, bool)

    def __len__(self) -> int:
        """Return the number of rows that were ever taken, the fixed ones included."""
        return self._rows

    @property
    def room(self) -> int:
        """How many rows can be taken."""
        return len(self._free) + self.limit - self._rows

    def take(self, now_ns: int) -> int:
        """Return a row for a new set; there must be room."""
        if self._free:
            row = self._free.pop()
        else:
            row, self._rows = self._rows, self._rows + 1
        self._taken += 1
        self.serials[row], self.records[row] = self._taken, 0
        self.born_ns[row] = self.active_ns[row] = now_ns
        return row

    def give_back(self, rows: Rows) -> None:
        """Have rows free for other sets."""
        self.serials[rows], self.records[rows], self.listens[rows] = 0, 0, False
        self._free += rows.tolist()

    def note(self, rows: Rows, now_ns: int, numbers: NDArray[np.uint64] | None = None) -> None:
        """Note that records of these rows have come, shape (n,); numbers: how many of each, one if not given."""
        np.add.at(self.records, rows, np.uint64(1) if numbers is None else numbers)
        self.active_ns[rows] = now_ns

    def used(self) -> Rows:
        """Return the rows of sets."""
        return np.flatnonzero(self.serials[: self._rows])

    def idle(self, before_ns: int, held: Mask) -> Rows:
        """Return the rows of sets that had no record since then; held: which rows stay all the same, shape (rows,)."""
        rows = self.used()
        return rows[(self.active_ns[rows] < before_ns) & ~held[rows]]

    def lightest(self, count: int, now_ns: int, held: Mask) -> Rows:
        """Return so many rows of sets, at most, that should leave first; those that are held count as active.

        Those of listeners leave last, however small.
        """
        rows = self.used()
        ages = np.where(held[rows], 0, now_ns - self.active_ns[rows])
        order = np.lexsort((weights(self.records[rows], ages), self.listens[rows]))
        return rows[order[:count]]


def weights(records: NDArray[np.uint64], ages_ns: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the weights of sets, shape (n,), by their records and the time since the last one."""
    weight: NDArray[np.float64] = (records + np.float64(1)) * np.exp2(-ages_ns.clip(min=0) / HALF_LIFE_NS)
    return weight
