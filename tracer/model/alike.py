"""Records that are counted alike: what decides how a record is counted is asked of one example of each sort.

Theory of operation. The records of a service differ in their times, in the client's port, and in what their connections have
carried. All else (what it is, whose, how it ended, through which states it went) is the same for most of them: twenty thousand
records are of a few dozen sorts. So each record gets one number for all of that, equal numbers make a sort, and label sets,
reasons and such are found once a sort. What is left for each record are its times and amounts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.decode import Events
from tracer.ingest.hashes import hashed, share
from tracer.ingest.transposed import Transposed, chosen, mask_of
from tracer.model.batch import Part, Rows
from tracer.model.columns import Keys, Mask
from tracer.model.services import Codes, service_codes, service_ports, without_side
from tracer.model.tcp import FLAG, ROLE

_SLOT_BITS = 12
_SLOT_SHIFT = np.array(64 - _SLOT_BITS, np.uint64)
_OTHER_BITS = np.uint64(0x9E3779B97F4A7C15)
"""Times this, the upper bits of a number are others."""

_WHAT = ("kind", "role", "from_state", "to_state", "retransmit_kind")
"""What decides in their word; in that of the flags it depends on the role, as a client's port decides nothing."""

_WHAT_MASK = mask_of(*_WHAT)
_NETNS, _ERROR = mask_of("netns"), mask_of("error")
"""Halves of their words, of which the other ones decide nothing: both fit into one word."""

_ASKED = (*_WHAT, *("flags", "visited", "error", "connection", "netns", "local_port", "remote_port"))
_OF_LABELS = ("remote_address", "process", "cgroup")
"""Members that an example is asked for."""

_FLAGS_BY_ROLE = np.full(256, mask_of("flags", "visited"))
_FLAGS_BY_ROLE[ROLE["server"]] = mask_of("flags", "visited", "local_port")
_FLAGS_BY_ROLE[ROLE["client"]] = mask_of("flags", "visited", "remote_port")


@dataclass(frozen=True)
class Alike:
    """Some records, those of a sort side by side, and an example of each sort, with what decides about it.

    part: n records, in the order of the ring within each sort. examples: one of each of k sorts, in the same order, those of a
    kind side by side. numbers: how many records each sort has, one at least; services: which service's they are; rows: of which
    label set they are, once that is known; each of shape (k,).
    """

    part: Part
    examples: Events
    numbers: NDArray[np.uint64]
    services: Codes
    rows: Rows

    @classmethod
    def among(cls, records: Transposed, labels: Sequence[NDArray[np.uint64]] = ()) -> Alike:
        """Return all records of a batch; labels: what else tells them apart, columns of shape (n,)."""
        of, first = grouped(_keys(records, labels))
        order = records.pick("kind", first).argsort(kind="stable")
        ranks = np.empty(len(order), np.min_scalar_type(len(order)))  # of one or two bytes, which are sorted by counting
        ranks[order] = np.arange(len(order))
        index = ranks.take(of).argsort(kind="stable")
        numbers = np.bincount(of).take(order).view(np.uint64)
        found = records.some(first.take(order), _ASKED + _OF_LABELS)
        return cls(Part(records, index), found, numbers, service_codes(found), np.zeros(len(found), np.intp))

    @cached_property
    def starts(self) -> Rows:
        """Where each sort begins among the records, shape (k,)."""
        return self.ends - self.numbers.view(np.intp)

    @cached_property
    def ends(self) -> Rows:
        """Behind which place each sort ends, shape (k,)."""
        return self.numbers.view(np.intp).cumsum()

    @cached_property
    def flags(self) -> int:
        """All flags that any of the records has."""
        return int(np.bitwise_or.reduce(self.examples["flags"]))

    def in_rows(self, rows: Rows) -> Alike:
        """Return the same with the label set of each example, shape (k,)."""
        return Alike(self.part, self.examples, self.numbers, self.services, rows)

    def spread(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return for each record what its sort has, of values of shape (k,)."""
        return values.repeat(self.numbers.view(np.intp))

    def by_kind(self) -> Iterator[tuple[int, Alike]]:
        """Yield each kind that is there, with its sorts."""
        kinds, ends = self.examples["kind"], self.ends
        behind = (kinds[1:] != kinds[:-1]).nonzero()[0] + 1
        place = 0
        for begin, end in pairwise((0, *behind.tolist(), len(kinds)) if len(kinds) else ()):
            first, place = place, int(ends[end - 1])
            part = Part(self.part.records, self.part.index[first:place])
            sorts = self.examples[begin:end], self.numbers[begin:end], self.services[begin:end], self.rows[begin:end]
            yield int(kinds[begin]), Alike(part, *sorts)

    def without(self, flag: str) -> Alike:
        """Return the sorts that do not have a flag."""
        return self.where(self.examples["flags"] & FLAG[flag] == 0) if self.flags & FLAG[flag] else self

    def where(self, mask: Mask) -> Alike:
        """Return the sorts for which mask, shape (k,), is true."""
        if np.count_nonzero(mask) == len(mask):  # a tenth of the time of all()
            return self
        part, examples = Part(self.part.records, self.places(mask)), chosen(self.examples, mask)
        return Alike(part, examples, self.numbers[mask], self.services[mask], self.rows[mask])

    def places(self, mask: Mask) -> Rows:
        """Return the places of their records in the batch."""
        every = np.count_nonzero(mask) == len(mask)
        return self.part.index if every else self.part.index[self.spread(mask)]


def grouped(keys: Keys) -> tuple[Rows, Rows]:
    """Return which group each of the keys is in, shape (n,), equal ones in the same; and the place of each group's first one.

    Keys are told apart by their upper bits, and what shares these by others: a table of places is four times as fast as to
    sort them.
    """
    places, slots = np.arange(len(keys)), (keys >> _SLOT_SHIFT).view(np.intp)
    table = np.zeros(1 << _SLOT_BITS, np.intp)
    table[slots[::-1].copy()] = places[::-1].copy()  # the last one that is put there stays; from behind it takes thrice as long
    first = (table.take(slots) == places).nonzero()[0]
    table[slots.take(first)] = np.arange(len(first))
    of = table.take(slots)
    rest = (keys.take(first).take(of) != keys).nonzero()[0]
    if len(rest):
        others, more = grouped(keys.take(rest) * _OTHER_BITS)
        of[rest] = others + len(first)
        first = np.concatenate((first, rest.take(more)))
    return of, first


def _keys(records: Transposed, labels: Sequence[NDArray[np.uint64]]) -> Keys:
    """Return one number for all that decides how a record is counted, shape (n,)."""
    role = records["role"]
    flags = records.word("flags") & _FLAGS_BY_ROLE.take(role)
    where = (records.word("netns") & _NETNS) | (records.word("error") & _ERROR)
    keys = hashed(flags, records.word("kind") & _WHAT_MASK, where, *labels)
    unknown = without_side(role)
    if len(unknown):
        keys[unknown] += share(service_ports(Part(records, unknown)), len(labels) + 3)
    untied = records["connection"] == 0
    if np.count_nonzero(untied):
        keys += share(untied, len(labels) + 4)
    return keys
