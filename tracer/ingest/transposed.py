"""Records by their columns: a copy in which the values of each member lie side by side.

A record is longer than a cache line, so that in an array of records every look at a member fetches a line from memory for each
of them. Whoever counts looks at most members of most records, and often more than once. Copied like this, block by block, all
members come out of the processor's own cache, for no more than it takes to copy the records as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.decode import EVENT, Events

BLOCK = 512
"""Records that are copied together: they and their copy fit into the cache of a processor."""

FEW = 8
"""Values that are found faster by comparing all with each of them than by a search."""

_WORD = 8
ALL_BITS = np.uint64((1 << 64) - 1)
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


def chosen(events: Events, mask: NDArray[np.bool_]) -> Events:
    """Return the records for which mask, shape (n,), is true, copied."""
    found: Events = events.view(f"V{events.dtype.itemsize}")[mask].view(events.dtype)
    return found


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
        if which not in self._columns:
            if not self.has(which):
                return np.zeros(len(self), _MEMBERS[which][0])
            if which in WIDE:
                return wide(self.words_of(which), which)
            self._columns[which] = self._column(which).copy()
        return self._columns[which]

    def put(self, member: str, places: NDArray[np.intp], values: Any) -> None:
        """Have some records, by their places, have other values of a member, which is no address and no name."""
        self._column(member)[places] = values
        self._columns.pop(member, None)

    def pick(self, member: str, places: NDArray[np.intp]) -> NDArray[Any]:
        """Return what some records have of a member, without a look at the others."""
        if member in self._columns:
            return self._columns[member].take(places)
        word, place, dtype = _WHERE[member]
        if word >= len(self.words):
            strides = (0,) * (1 + len(dtype.shape))
            return np.ndarray((len(places), *dtype.shape), dtype.base, bytes(dtype.base.itemsize), strides=strides)
        if member in WIDE:
            return wide(self.words_of(member).take(places, axis=1), member)
        found: NDArray[Any] = self.words[word].take(places).view(dtype)[place :: _WORD // dtype.itemsize]
        return found

    def some(self, places: NDArray[np.intp], members: tuple[str, ...]) -> Events:
        """Return some records as an array, with these members alone: a fraction of what whole ones take."""
        size, known, dtype = _compact(members, len(self.words))
        found = np.zeros((len(places), size), np.uint64)
        found[:, : len(known)] = self.words[known, places].T
        events: Events = found.view(dtype)[:, 0]
        return events

    def has(self, member: str) -> bool:
        """Return whether the records are long enough to have a member."""
        return _WHERE[member][0] < len(self.words)

    def _column(self, member: str) -> NDArray[Any]:
        word, place, dtype = _WHERE[member]
        column: NDArray[Any] = self.words[word].view(dtype)[place :: _WORD // dtype.itemsize]
        return column

    def word(self, member: str) -> Words:
        """Return the word that a member is in, with all that is beside it, shape (n,)."""
        word: Words = self.words[_WHERE[member][0]]
        return word

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


class InWord(NamedTuple):
    """Where a record has a number: in which word, behind which bits, and which bits from there on."""

    word: int
    shift: np.uint64
    mask: np.uint64

    def of(self, words: Words) -> Words:
        """Return the numbers in these words; where they are whole ones, they are not copied."""
        return words if self.mask == ALL_BITS else words >> self.shift & self.mask


@lru_cache
def in_word(member: str) -> InWord:
    """Return where a member of at most a word is."""
    dtype, offset = _MEMBERS[member]
    return InWord(offset // _WORD, np.uint64(offset % _WORD * 8), ALL_BITS >> np.uint64(64 - dtype.itemsize * 8))


@lru_cache
def mask_of(*members: str) -> Words:
    """Return what leaves these members alone of the word that they have in common, of no dimension."""
    mask = np.zeros(_WORD, np.uint8)
    for dtype, offset in map(_MEMBERS.__getitem__, members):
        mask[offset % _WORD :][: dtype.itemsize] = 0xFF
    found: Words = mask.view(np.uint64)[0, ...]
    return found


def _rows(part: Events) -> Words:
    """Return the words of records as they lie, shape (n, words)."""
    rows: Words = part.view(_words_of_records(part.dtype.itemsize))["words"]
    return rows


@lru_cache
def _words_of_records(size: int) -> np.dtype[np.void]:
    return np.dtype([("words", np.uint64, (size // _WORD,))])


@lru_cache
def _compact(members: tuple[str, ...], known: int) -> tuple[int, NDArray[np.intp], np.dtype[np.void]]:
    """Return in how many words members lie, which of these are known, shape (k, 1), and the dtype of a record without others.

    known: how many words there are, the first ones of a record.
    """
    formats, offsets = zip(*map(_MEMBERS.__getitem__, members), strict=True)
    lengths = [-(-(at % _WORD + dtype.itemsize) // _WORD) for dtype, at in zip(formats, offsets, strict=True)]
    words = sorted({at // _WORD + word for at, length in zip(offsets, lengths, strict=True) for word in range(length)})
    places = [words.index(at // _WORD) * _WORD + at % _WORD for at in offsets]
    dtype = np.dtype({"names": list(members), "formats": list(formats), "offsets": places, "itemsize": len(words) * _WORD})
    return len(words), np.array([word for word in words if word < known])[:, None], dtype


def _bytes(words: Words) -> NDArray[np.uint8]:
    """Return the bytes of each record, shape (n, bytes)."""
    return np.ascontiguousarray(words.T).view(np.uint8)


_MEMBERS: dict[str, tuple[np.dtype[Any], int]] = {name: (field[0], field[1]) for name, field in (EVENT.fields or {}).items()}
_WHERE = {
    name: (offset // _WORD, offset % _WORD // max(dtype.base.itemsize, 1), dtype) for name, (dtype, offset) in _MEMBERS.items()
}
"""The word that each member is in, and its place in there among members of its size."""
WIDE = {name for name, (dtype, _) in _MEMBERS.items() if dtype.subdtype or dtype.kind == "S"}
"""Members that are addresses, names, or several numbers."""
