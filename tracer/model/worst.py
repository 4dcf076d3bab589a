"""The connections of a report that deserve a drawing each, and their records, both ends': for a second look at a recording.

Which ones they are is known at the end of the first look. The records of a connection can be millions, so that each has room
for some.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.decode import EVENT, Events
from tracer.ingest.sets import is_in
from tracer.model.findings import Findings
from tracer.model.oneconnection import overlapping

DRAWN = 6
RECORDS = 30_000
"""Connections that are drawn, and of the records of each, both ends together, at most so many, the first ones."""

_BYTES = f"V{EVENT.itemsize}"
_ENDS = (("local", "remote"), ("remote", "local"))


def worst(found: Findings, most: int = DRAWN) -> Events:
    """Return closes of connections, shape (n,), n <= most: most retransmitting, then largest, then longest ones; each once."""
    first = _each_once(found.retransmitting)[: most - 2]
    rest = (found.largest[:1], found.longest[:1], found.retransmitting, found.largest, found.longest)
    return _each_once(np.concatenate([part.view(_BYTES) for part in (first, *rest)]).view(EVENT))[:most]


def _each_once(records: Events) -> Events:
    """Return the first record of each connection, whichever end it is of; none of what has no number."""
    chosen: dict[frozenset[bytes], int] = {}
    for at, record in enumerate(records):
        if record["connection"]:
            chosen.setdefault(frozenset(_end(record, side) for side in ("local", "remote")), at)
    kept: Events = records[list(chosen.values())]
    return kept


def _end(record: np.void, side: str) -> bytes:
    return bytes(record[f"{side}_address"]) + int(record[f"{side}_port"]).to_bytes(2, "big")


class Gathered:
    """The records of some connections, each given by one of its records."""

    def __init__(self, wanted: Events) -> None:
        self._wanted = wanted
        self._parts: list[list[Events]] = [[] for _ in wanted]
        self._left = [RECORDS] * len(wanted)
        self.cut = [False] * len(wanted)
        """Whether there were more than there is room for, by place."""

    def add(self, events: Events) -> None:
        """Take in a batch."""
        likely = events[self._may_be(events)]
        for at, wanted in enumerate(self._wanted):
            mine = np.flatnonzero(_shares_ends(likely, wanted))
            if len(mine):
                self._keep(at, likely[mine])

    def _may_be(self, events: Events) -> NDArray[np.intp]:
        """Return which records have the number or the ports of any: few, to be looked at closely."""
        wanted = self._wanted
        pairs = [_pair(wanted[f"{mine}_port"], wanted[f"{its}_port"]) for mine, its in _ENDS]
        ports = is_in(_pair(events["local_port"], events["remote_port"]), np.concatenate(pairs))
        found: NDArray[np.intp] = np.flatnonzero(ports | is_in(events["connection"], wanted["connection"]))
        return found

    def _keep(self, at: int, mine: Events) -> None:
        self.cut[at] |= len(mine) > self._left[at]
        self._parts[at].append(mine[: self._left[at]])
        self._left[at] -= len(self._parts[at][-1])

    def records(self, at: int) -> Events:
        """Return the records of both ends of a connection by its place, shape (n,)."""
        parts = [part.view(_BYTES) for part in self._parts[at]]
        together = np.concatenate(parts).view(EVENT) if parts else self._wanted[:0]
        return overlapping(together[together["connection"] != 0], int(self._wanted[at]["connection"]))


def _pair(first: NDArray[np.uint16], second: NDArray[np.uint16]) -> NDArray[np.uint32]:
    return first.astype(np.uint32) << np.uint32(16) | second


def _shares_ends(events: Events, wanted: np.void) -> NDArray[np.bool_]:
    """Return which records have the ends of another one, either way round, or are of its connection."""
    found: NDArray[np.bool_] = events["connection"] == wanted["connection"]
    for mine, its in _ENDS:
        same = (events["local_port"] == wanted[f"{mine}_port"]) & (events["remote_port"] == wanted[f"{its}_port"])
        for side, other in (("local", mine), ("remote", its)):
            same &= (events[f"{side}_address"] == wanted[f"{other}_address"]).all(axis=1)
        found |= same
    return found
