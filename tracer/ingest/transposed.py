"""Records by their columns: a copy in which the values of each member lie side by side.

A record is longer than a cache line, so that in an array of records every look at a member fetches a line from memory for each
of them. Whoever counts looks at most members of most records, and often more than once. Copied like this, block by block, all
members come out of the processor's own cache, for no more than it takes to copy the records as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.decode import EVENT, Events

BLOCK = 512
"""Records that are copied together: they and their copy fit into the cache of a processor."""

FEW = 8
"""Values that are found faster by comparing all with each of them than by a search."""

_HALF = np.uint64(32)

# The first numbers that SplitMix64 gives, made odd.
_FACTORS = np.array(
    [
        *(0xE220A8397B1DCDAF, 0x6E789E6AA1B965F5, 0x06C45D188009454F, 0xF88BB8A8724C81ED),
        *(0x1B39896A51A8749B, 0x53CB9F0C747EA2EB, 0x2C829ABE1F4532E1),
    ],
    np.uint64,
)

_WORD = 8
_WORDS = EVENT.itemsize // _WORD

Words = NDArray[np.uint64]


class RecordColumns(Protocol):
    """Records read by their columns: an array of records, Transposed, or a part of one."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, which: Any, /) -> Any:
        """Return a column by its name, shape (n,) or (n, elements), or records by their places."""


class Seen:
    """Records as they are, with each column gathered once for all who look at it."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._columns: dict[str, NDArray[Any]] = {}

    def __len__(self) -> int:
        return len(self._events)

    def __getitem__(self, which: Any, /) -> Any:
        if not isinstance(which, str):
            return self._events[which]
        if which not in self._columns:
            self._columns[which] = np.ascontiguousarray(self._events[which])
        return self._columns[which]


def together(runs: Sequence[Events]) -> Events:
    """Return the records of runs, one at least and of one dtype, as one array, copied."""
    dtype = runs[0].dtype  # as plain bytes, since numpy copies structured arrays member by member
    copied: Events = np.concatenate([run.view(f"V{dtype.itemsize}") for run in runs]).view(dtype)
    return copied


Derive = Callable[[RecordColumns], NDArray[Any]]


class Transposed:
    """Records by columns, read like an array of records: a name gives a column, anything else records.

    words: shape (words of a record, n). What lies behind the last word of a short record is 0. Columns are gathered once, as
    they are looked at several times.
    """

    def __init__(self, words: Words) -> None:
        self.words = words
        self._derived: dict[Derive, NDArray[Any]] = {}
        self._columns: dict[str, NDArray[Any]] = {}

    @classmethod
    def of(cls, parts: Sequence[Events]) -> Transposed:
        """Return the records of all parts, one at least and of one dtype, in their order, copied."""
        known = parts[0].dtype.itemsize // _WORD
        words = np.empty((known, sum(map(len, parts))), np.uint64)
        at = 0
        for part in parts:
            rows = _rows(part).T
            for first in range(0, len(part), BLOCK):
                block = rows[:, first : first + BLOCK]
                words[:, at : at + block.shape[1]] = block
                at += block.shape[1]
        return cls(words)

    @classmethod
    def joined(cls, parts: Sequence[Transposed]) -> Transposed:
        """Return the records of all parts, one at least, in their order; copied, unless there is one."""
        return parts[0] if len(parts) == 1 else cls(np.concatenate([part.words for part in parts], axis=1))

    def __len__(self) -> int:
        return int(self.words.shape[1])

    def __getitem__(self, which: Any, /) -> Any:
        if not isinstance(which, str):
            some = np.atleast_2d(self.words[:, which].T)
            whole = np.zeros((len(some), _WORDS), np.uint64)
            whole[:, : len(self.words)] = some
            return whole.view(EVENT)[:, 0][0 if np.isscalar(which) else slice(None)]
        dtype, offset = _MEMBERS[which]
        if offset >= self.words.shape[0] * _WORD:
            return np.zeros(len(self), dtype)
        if which in WIDE:
            return wide(self.words_of(which), which)
        if which not in self._columns:
            self._columns[which] = np.ascontiguousarray(self._column(which))
        return self._columns[which]

    def put(self, member: str, places: NDArray[np.intp], values: Any) -> None:
        """Have some records, by their places, have other values of a member, which is no address and no name."""
        self._column(member)[places] = values
        self._columns.pop(member, None)

    def _column(self, member: str) -> NDArray[Any]:
        dtype, offset = _MEMBERS[member]
        per_word = _WORD // dtype.itemsize
        column: NDArray[Any] = self.words[offset // _WORD].view(dtype)[offset // dtype.itemsize % per_word :: per_word]
        return column

    def words_of(self, member: str) -> Words:
        """Return the words of a member that has whole ones, shape (words, n)."""
        dtype, offset = _MEMBERS[member]
        words = self.words[offset // _WORD : (offset + dtype.itemsize) // _WORD]
        return words if len(words) else np.zeros((dtype.itemsize // _WORD, len(self)), np.uint64)

    def once(self, derive: Derive) -> NDArray[Any]:
        """Return what is derived from the records, shape (n,), which is done once."""
        if derive not in self._derived:
            self._derived[derive] = derive(self)
        return self._derived[derive]

    def where(self, mask: NDArray[np.bool_]) -> Transposed:
        """Return those of them for which mask, shape (n,), is true, copied."""
        return Transposed(self.words.compress(mask, axis=1))


def once(records: RecordColumns, derive: Derive) -> NDArray[Any]:
    """Return what is derived from records, shape (n,); once for all parts of the same ones."""
    derived: NDArray[Any] = records.once(derive) if hasattr(records, "once") else derive(records)
    return derived


def wide(words: Words, member: str) -> NDArray[Any]:
    """Return a column of an address, a name or several numbers from its words, copied."""
    dtype, offset = _MEMBERS[member]
    values = _bytes(words)[:, offset % _WORD :][:, : dtype.itemsize].view(dtype.base)
    return values[:, 0] if dtype.kind == "S" else values


def words_of(rows: Any, member: str) -> Words:
    """Return the words of a member that has whole ones, of records or of an array of sockets; shape (words, n)."""
    if not isinstance(rows, np.ndarray):
        words: Words = rows.words_of(member)
        return words
    return np.ascontiguousarray(rows[member]).view(np.uint64).reshape(len(rows), rows.dtype[member].itemsize // _WORD).T


def is_among(values: NDArray[Any], known: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which values are among those that are known, which are sorted and of the same type; shape (n,)."""
    if len(known) < FEW:
        found = np.zeros(len(values), bool)
        for one in known:
            found |= values == one
        return found
    same: NDArray[np.bool_] = known.take(np.searchsorted(known, values), mode="clip") == values
    return same


def hashed(*columns: NDArray[Any]) -> Words:
    """Return one number for the values that stand side by side in columns of integers, shape (n,), almost certainly its own.

    A sum of the values, each times an odd number of its column's. Of the upper half of a word a product keeps half of the bits
    alone, so that it is mixed into the lower one before. A column of zeros adds nothing: the first words of IPv4's addresses.
    """
    keys = np.zeros(len(columns[0]), np.uint64)
    for place, column in enumerate(columns):
        if column.any():
            keys += share(column, place)
    return keys


def share(column: NDArray[Any], place: int) -> Words:
    """Return what the column at a place adds to the numbers of hashed()."""
    mixed = column ^ column >> _HALF if column.dtype == np.uint64 else column
    added: Words = mixed * _FACTORS[place]
    return added


def _rows(part: Events) -> Words:
    """Return the words of records as they lie, shape (n, words)."""
    rows: Words = part.view([("words", np.uint64, (part.dtype.itemsize // _WORD,))])["words"]
    return rows


def _bytes(words: Words) -> NDArray[np.uint8]:
    """Return the bytes of each record, shape (n, bytes)."""
    return np.ascontiguousarray(words.T).view(np.uint8)


_MEMBERS: dict[str, tuple[np.dtype[Any], int]] = {name: (field[0], field[1]) for name, field in (EVENT.fields or {}).items()}
WIDE = {name for name, (dtype, _) in _MEMBERS.items() if dtype.subdtype or dtype.kind == "S"}
"""Members that are addresses, names, or several numbers."""
