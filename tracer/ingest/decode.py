"""The record as a numpy structured dtype, and the numbers in it as names.

Bytes become arrays here and nowhere else; this is also where the kernel's words end and the reader's words begin. Nothing is
computed per record: a batch is one array, and a column of it is one strided view.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracer.kernel.layout import Field, parse_layout, size_of
from tracer.kernel.shipped import read_source

type_names = {"u8": "<u1", "u16": "<u2", "u32": "<u4", "u64": "<u8", "s32": "<i4"}


def dtype_of(fields: tuple[Field, ...]) -> np.dtype[np.void]:
    """Return the structured dtype of a record or a table's row: each C member under its own name, at its own offset.

    The process name becomes a byte string (S16); other arrays become sub-arrays, addresses (16,) of uint8.
    """
    formats = [
        f"S{f.count}" if f.name == "process" else (type_names[f.type], (f.count,)) if f.count > 1 else type_names[f.type]
        for f in fields
    ]
    return np.dtype(
        {
            "names": [f.name for f in fields],
            "formats": formats,
            "offsets": [f.offset for f in fields],
            "itemsize": size_of(fields),
        }
    )


def beginning_of(dtype: np.dtype[np.void], size: int) -> np.dtype[np.void]:
    """Return the dtype of the first bytes of a record, with the members that lie in them."""
    fields = {name: field[:2] for name, field in (dtype.fields or {}).items() if field[1] < size}
    return np.dtype(
        {
            "names": list(fields),
            "formats": [kind for kind, _ in fields.values()],
            "offsets": [offset for _, offset in fields.values()],
            "itemsize": size,
        }
    )


LAYOUT = parse_layout(read_source("event.h"))
EVENT = dtype_of(LAYOUT.fields)
BEGINNING = beginning_of(EVENT, LAYOUT.enums["record"]["RECORD_BEGINNING"])
"""What records have that are not whole: `run` needs no more, unless it was asked for processes."""

Events = NDArray[np.void]
"""A batch: shape (n,), dtype EVENT or BEGINNING, in the order of the ring."""

NO_RECORDS: Events = np.empty(0, EVENT)
