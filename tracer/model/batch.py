"""Records that are counted together: what a batch costs beyond its records is paid once for many looks at the source."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.decode import EVENT, Events

Rows = NDArray[np.intp]

ENOUGH = 4096
"""Records with which the cost of a batch is small beside theirs; they take 2 MB."""

_BYTES = f"V{EVENT.itemsize}"


class Batch:
    """The records of some readings, in their order."""

    def __init__(self) -> None:
        self._parts: list[Events] = []
        self._records = 0

    def add(self, events: Events) -> None:
        """Take in the records of a reading."""
        if len(events):
            self._parts.append(events)
            self._records += len(events)

    @property
    def is_full(self) -> bool:
        """Whether there is nothing to be gained by more of them."""
        return self._records >= ENOUGH

    def take(self) -> Events:
        """Return all of them, shape (n,), and be empty."""
        parts, self._parts, self._records = self._parts, [], 0
        if len(parts) == 1:
            return parts[0]
        # of plain bytes, since numpy copies structured arrays member by member
        return np.concatenate([part.view(_BYTES) for part in parts]).view(EVENT) if parts else np.empty(0, EVENT)


@dataclass(frozen=True)
class Part:
    """Some records of a batch, by their positions: a column is gathered when asked for, as copying whole records costs more."""

    events: Events
    index: Rows
    _gathered: dict[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, column: str, /) -> NDArray[Any]:
        if column not in self._gathered:
            self._gathered[column] = self.events[column][self.index]
        return self._gathered[column]

    def where(self, mask: NDArray[np.bool_]) -> Part:
        """Return those of them for which mask, shape (n,), is true."""
        return Part(self.events, self.index[mask])
