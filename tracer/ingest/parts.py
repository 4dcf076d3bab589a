"""A table of many rows, of which few are in use at a time, in the kernel's memory or in our own.

Of the kernel's all pages are there at once when they are mapped, and count as our memory, whatever is read. So it is mapped in
parts: as many rows as make whole pages. Of our own those are there that were written.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.intp]


class Parts:
    """The rows of a table, by their numbers. fd: of the table; rows: how many it has, of this dtype."""

    def __init__(self, fd: int, rows: int, dtype: np.dtype[np.void]) -> None:
        self._fd, self._rows, self._dtype = fd, rows, dtype
        self._each = mmap.PAGESIZE // math.gcd(mmap.PAGESIZE, dtype.itemsize)
        self._mapped: dict[int, NDArray[np.void]] = {}

    @property
    def nbytes(self) -> int:
        """How much memory is mapped."""
        return sum(part.nbytes for part in self._mapped.values())

    def keep(self, rows: Rows) -> None:
        """Have no parts mapped but those that have some of these rows."""
        wanted = set((rows // self._each).tolist())
        self._mapped = {number: part for number, part in self._mapped.items() if number in wanted}

    def column(self, name: str, rows: Rows) -> NDArray[Any]:
        """Return a member of these rows as they are now."""
        found = np.empty(len(rows), self._dtype[name])
        for part, places, which in self._of(rows):
            found[which] = part[name][places]
        return found

    def copied(self, rows: Rows) -> NDArray[np.void]:
        """Return these rows as they are now; as plain bytes, since numpy copies structured arrays member by member."""
        found = np.empty(len(rows), f"V{self._dtype.itemsize}")
        for part, places, which in self._of(rows):
            found[which] = part.view(found.dtype)[places]
        return found.view(self._dtype)

    def empty(self, rows: Rows) -> None:
        """Have these rows all zero."""
        for part, places, _ in self._of(rows):
            part[places] = 0

    def _of(self, rows: Rows) -> Iterator[tuple[NDArray[np.void], Rows, Rows]]:
        """Yield each part of which there are rows, where these are in it, and which they are."""
        numbers = rows // self._each
        for number in sorted(set(numbers.tolist())):
            which = np.flatnonzero(numbers == number)
            if number not in self._mapped:
                self._mapped[number] = self._map(number * self._each)
            yield self._mapped[number], rows[which] % self._each, which

    def _map(self, first: int) -> NDArray[np.void]:
        count = min(self._each, self._rows - first)
        size = -(-count * self._dtype.itemsize // mmap.PAGESIZE) * mmap.PAGESIZE
        part = mmap.mmap(self._fd, size, offset=first * self._dtype.itemsize)
        return np.frombuffer(part, self._dtype, count)


class Own:
    """Rows in our own memory, by their numbers: all zero, and without memory until they are written and once they are empty."""

    def __init__(self, rows: int, dtype: np.dtype[np.void]) -> None:
        size = -(-rows * dtype.itemsize // mmap.PAGESIZE) * mmap.PAGESIZE
        self._memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE)
        self.rows: NDArray[np.void] = np.frombuffer(self._memory, dtype, rows)

    def empty(self, rows: Rows, used: Rows) -> None:
        """Have these rows all zero, and no memory for pages on which none is that is used."""
        self.rows[rows] = 0
        for page in self._pages(rows) - self._pages(used):
            self._memory.madvise(mmap.MADV_DONTNEED, page * mmap.PAGESIZE, mmap.PAGESIZE)

    def _pages(self, rows: Rows) -> set[int]:
        """Return the numbers of the pages on which some of these rows are."""
        size = self.rows.itemsize
        ends = zip((rows * size // mmap.PAGESIZE).tolist(), (((rows + 1) * size - 1) // mmap.PAGESIZE).tolist(), strict=True)
        return {page for first, last in ends for page in range(first, last + 1)}
