"""Records that are counted together: what a batch costs beyond its records is paid once for many looks at the source."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.decode import Events
from tracer.ingest.transposed import Derive, Transposed, Words, in_word

Rows = NDArray[np.intp]

ENOUGH = 8192
"""Records with which the cost of a batch is small beside theirs; they take 3 MB."""


class Batch:
    """The records of some readings, in their order."""

    def __init__(self) -> None:
        self._parts: list[Events | Transposed] = []
        self._records = 0

    def add(self, events: Events | Transposed) -> None:
        """Take in the records of a reading."""
        if len(events):
            self._parts.append(events)
            self._records += len(events)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return self._records > 0

    @property
    def is_full(self) -> bool:
        """Whether there is nothing to be gained by more of them."""
        return self._records >= ENOUGH

    def take(self) -> Transposed:
        """Return all of them, one at least, and be empty."""
        records = Transposed.joined([part if isinstance(part, Transposed) else Transposed.of([part]) for part in self._parts])
        self._parts, self._records = [], 0
        return records


@dataclass(frozen=True)
class Part:
    """Some records of a batch, by their positions: a column is gathered when asked for."""

    records: Transposed
    index: Rows
    _gathered: dict[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, which: Any, /) -> Any:
        if not isinstance(which, str):
            return self.records[self.index[which]]
        if which not in self._gathered:
            self._gathered[which] = self.records.pick(which, self.index)
        return self._gathered[which]

    def once(self, derive: Derive) -> NDArray[Any]:
        """Return what is derived from the records, of these, shape (n,)."""
        return self.records.once(derive).take(self.index)

    def has(self, member: str) -> bool:
        """Return whether the records are long enough to have a member."""
        return self.records.has(member)

    def words_of(self, member: str) -> Words:
        """Return the words of a member that has whole ones, shape (words, n)."""
        return self.records.words_of(member).take(self.index, axis=1)

    def number(self, member: str) -> Words:
        """Return a column of numbers as words, shape (n,)."""
        where = in_word(member)
        return where.of(self.records.words[where.word].take(self.index))

    def at(self, places: Rows) -> Part:
        """Return some of them by their places among these."""
        return Part(self.records, self.index.take(places))
