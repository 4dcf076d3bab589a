"""Tables as recordings have them: place by place, all first bytes of the rows, then all second ones.

Most bytes are alike from row to row, so that zlib packs ten times as much. A table in JSON was the alternative: larger, and
slower to make.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def planes(tables: Sequence[NDArray[Any]]) -> bytes:
    """Return tables, shape (n,) each, one behind the other."""
    parts = (np.frombuffer(table.tobytes(), "u1").reshape(len(table), -1).T.tobytes() for table in tables if len(table))
    return b"".join(parts)


def tables_of(packed: bytes, count: int, dtypes: Mapping[str, np.dtype[Any]]) -> dict[str, NDArray[Any]]:
    """Return the tables that planes() was given, of so many rows each, by name; raises ValueError for other bytes."""
    if len(packed) != count * sum(dtype.itemsize for dtype in dtypes.values()):
        raise ValueError("the rows do not fit their number")
    tables, at = {}, 0
    for name, dtype in dtypes.items():
        end = at + count * dtype.itemsize
        rows = np.frombuffer(packed[at:end], "u1").reshape(dtype.itemsize, -1).T
        tables[name] = np.frombuffer(rows.tobytes(), dtype)
        at = end
    return tables
