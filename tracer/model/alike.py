"""Records that are counted alike: what decides how a record is counted is asked of one example of each sort.

Theory of operation. The records of a service differ in their times, in the client's port, and in what their connections have
carried. All else (what it is, whose, how it ended, through which states it went) is the same for most of them: twenty thousand
records are of a few dozen sorts. So each record gets one number for all of that, equal numbers make a sort, and label sets,
reasons and such are found once a sort. What is left for each record are its times and amounts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.decode import Events
from tracer.ingest.hashes import hashed, share
from tracer.ingest.transposed import Transposed, chosen, mask_of
from tracer.model.batch import Part, Rows
from tracer.model.columns import Keys, Mask
from tracer.model.services import Codes, service_codes, service_ports
from tracer.model.tcp import ROLE

_SLOT_BITS = 12
_SLOT_SHIFT = np.uint64(64 - _SLOT_BITS)
_OTHER_BITS = np.uint64(0x9E3779B97F4A7C15)
"""Times this, the upper bits of a number are others."""

_WHAT = ("kind", "role", "from_state", "to_state", "retransmit_kind")
"""What decides in their word; in that of the flags it depends on the role, as a client's port decides nothing."""

_WHAT_MASK = mask_of(*_WHAT)

_ASKED = (*_WHAT, *("flags", "visited", "error", "connection", "netns", "local_port", "remote_port"))
_OF_LABELS = ("remote_address", "process", "cgroup")
"""Members that an example is asked for."""

_FLAGS_BY_ROLE = np.full(256, mask_of("flags", "visited"))
_FLAGS_BY_ROLE[ROLE["server"]] = mask_of("flags", "visited", "local_port")
_FLAGS_BY_ROLE[ROLE["client"]] = mask_of("flags", "visited", "remote_port")


@dataclass(frozen=True)
class Alike:
    """Some records, those of a sort side by side, and an example of each sort, with what decides about it.

    part: n records, in the order of the ring within each sort. examples: one of each of k sorts, in the same order. numbers:
    how many records each sort has, one at least; services: which service's they are; both of shape (k,).
    """

    part: Part
    examples: Events
    numbers: NDArray[np.uint64]
    services: Codes

    @classmethod
    def among(cls, records: Transposed, labels: Sequence[NDArray[np.uint64]] = ()) -> Alike:
        """Return all records of a batch; labels: what else tells them apart, columns of shape (n,)."""
        of, examples = grouped(_keys(records, labels))
        short = of.astype(np.min_scalar_type(len(examples)))  # of one or two bytes, which are sorted by counting
        numbers = np.bincount(of, minlength=len(examples)).astype(np.uint64)
        found = records.some(examples, _ASKED + _OF_LABELS)
        return cls(Part(records, short.argsort(kind="stable")), found, numbers, service_codes(found))

    @cached_property
    def starts(self) -> Rows:
        """Where each sort begins among the records, shape (k,)."""
        numbers = self.numbers.view(np.intp)
        return numbers.cumsum() - numbers

    def spread(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return for each record what its sort has, of values of shape (k,)."""
        return values.repeat(self.numbers.view(np.intp))

    def where(self, mask: Mask) -> Alike:
        """Return the sorts for which mask, shape (k,), is true."""
        if np.count_nonzero(mask) == len(mask):  # a tenth of the time of all()
            return self
        part, examples = Part(self.part.records, self.places(mask)), chosen(self.examples, mask)
        return Alike(part, examples, self.numbers[mask], self.services[mask])

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
    table[slots[::-1]] = places[::-1]  # the last one that is put there stays
    first = np.flatnonzero(table.take(slots) == places)
    table[slots.take(first)] = np.arange(len(first))
    of = table.take(slots)
    rest = np.flatnonzero(keys.take(first).take(of) != keys)
    if len(rest):
        others, more = grouped(keys.take(rest) * _OTHER_BITS)
        of[rest] = others + len(first)
        first = np.concatenate((first, rest.take(more)))
    return of, first


def _keys(records: Transposed, labels: Sequence[NDArray[np.uint64]]) -> Keys:
    """Return one number for all that decides how a record is counted, shape (n,)."""
    role = records["role"]
    flags = records.word("flags") & _FLAGS_BY_ROLE.take(role)
    columns = [flags, records.word("kind") & _WHAT_MASK, records["netns"], records["error"].view(np.uint32), *labels]
    keys = hashed(*columns)
    unknown = np.flatnonzero((role != ROLE["server"]) & (role != ROLE["client"]))
    if len(unknown):
        keys[unknown] += share(service_ports(Part(records, unknown)), len(columns))
    untied = records["connection"] == 0
    if np.count_nonzero(untied):
        keys += share(untied, len(columns) + 1)
    return keys
