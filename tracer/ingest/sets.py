"""Sets of numbers as arrays: which are among others, and which are different.

numpy's own functions for that import numpy.ma when they are first called: 1.2 MB, at a moment when a process without privileges
can import nothing any more. np.unique() with return_index or such does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FEW = 16
"""With fewer known values each is compared; more are searched."""


def is_in(values: NDArray[Any], known: NDArray[Any] | Sequence[int]) -> NDArray[np.bool_]:
    """Return which values are among those that are known, in whatever order; same shape as values."""
    found = np.asarray(known)
    if len(found) < FEW:
        return is_among(values, found)
    same = found.astype(values.dtype)
    return is_among(values, np.sort(same[same == found]))  # what does not fit is none of them


def is_among(values: NDArray[Any], known: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which values are among those that are known, which are sorted and of the same type; same shape as values."""
    if len(known) < FEW:
        found = np.zeros(values.shape, bool)
        for one in known:
            found |= values == one
        return found
    same: NDArray[np.bool_] = known.take(known.searchsorted(values), mode="clip") == values
    return same


def unique(values: NDArray[Any]) -> NDArray[Any]:
    """Return the different values in their order, shape (k,)."""
    found: NDArray[Any] = np.unique(values, return_index=True)[0]
    return found


def union(some: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
    """Return the different values of both in their order, shape (k,)."""
    return unique(np.concatenate((some, others)))
