"""An array that grows by rows: one row a series, one column a reason, kind or bucket.

Adding a batch is one numpy call. A dictionary of counters was the alternative: a Python call per event.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", np.uint64, np.float64)


def frozen(values: NDArray[Number]) -> NDArray[Number]:
    """Return a read-only copy."""
    copy = values.copy()
    copy.flags.writeable = False
    return copy


class Grid(Generic[Number]):
    """Values of shape (rows, columns), all zero at first."""

    def __init__(self, columns: int, dtype: type[Number]) -> None:
        self.columns = columns
        self.values: NDArray[Number] = np.zeros((1, columns), dtype)

    def reserve(self, rows: int) -> None:
        """Make room for that many rows, and up to the next power of two, which a bound on them is; what is there stays."""
        have = len(self.values)
        if rows > have:
            more = np.zeros(((1 << (rows - 1).bit_length()) - have, self.columns), self.values.dtype)
            self.values = np.concatenate([self.values, more])

    def add(self, rows: NDArray[Any], columns: NDArray[Any] | int, amounts: NDArray[Any] | int = 1) -> None:
        """Add amounts at (rows, columns), each of shape (n,) or a scalar; a cell may occur more than once."""
        self.add_at(rows if self.columns == 1 else rows * self.columns + columns, amounts)

    def add_at(self, cells: NDArray[Any], amounts: NDArray[Any] | int = 1) -> None:
        """Add amounts at cells as they lie, row by row, both of shape (n,)."""
        dtype = self.values.dtype
        some = amounts.astype(dtype, copy=False) if isinstance(amounts, np.ndarray) else dtype.type(amounts)
        np.add.at(self.values.reshape(-1), cells, some)

    def add_rows(self, rows: NDArray[Any], amounts: NDArray[Any]) -> None:
        """Add amounts, shape (n, columns or fewer), to the first columns of rows, shape (n,); rows may repeat."""
        np.add.at(self.values[:, : amounts.shape[1]], rows, amounts)

    def raise_to(self, rows: NDArray[Any], values: NDArray[Any]) -> None:
        """Keep the larger of what is in column 0 and values, shape (n,)."""
        np.maximum.at(self.values[:, 0], rows, values.astype(self.values.dtype, copy=False))

    def fold(self, rows: NDArray[Any], onto: NDArray[Any], how: np.ufunc = np.add) -> None:
        """Add rows to others, both of shape (n,), and empty them; how: np.maximum for what is a maximum."""
        how.at(self.values, onto, self.values[rows])
        self.values[rows] = 0

    def snapshot(self, rows: NDArray[Any] | slice) -> NDArray[Number]:
        """Return a read-only copy of some rows."""
        found = self.values[rows]
        if found.base is not None:  # a slice's, which is none yet
            return frozen(found)
        found.flags.writeable = False
        return found
