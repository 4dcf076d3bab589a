"""Listeners with what waits in their queues, and how many connections they had no room for, by port and process.

A dump tells a listening socket's queue and its drops, but not whose it is. That is known from connections: the record of a
handshake at a server names the process that serves there. It is empty until there was one, and where there were several.

Drops are counted since the start: of listeners that were there before from the first dump on. Those of a socket that is gone
stay where they were counted, so that no sum falls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tracer.ingest.hashes import hashed
from tracer.ingest.names import name_text
from tracer.ingest.sets import is_among, union
from tracer.ingest.snapshot import ListenQueue, Snapshot
from tracer.ingest.transposed import RecordColumns, words_of
from tracer.model.naming import OTHER
from tracer.model.tcp import ROLE

MOST = 50
"""Pairs of port and process that have figures of their own; what comes later is `other`."""

MOST_NOTED = 1024
"""Processes at ports that are known to have been noted."""

Key = tuple[str, str]
"""Port and process."""


@dataclass(frozen=True)
class Listener:
    """What is known of the listeners of a port and process. drops: since the start, None where the kernel does not tell.

    waiting, limit: of the one that is fullest now, None when nobody listens any more.
    """

    port: str
    process: str
    waiting: int | None
    limit: int | None
    drops: int | None

    @property
    def fullness(self) -> float:
        """The share of its queue that is taken."""
        return (self.waiting or 0) / max(self.limit or 0, 1)


class Backlogs:
    """Listeners as of the last dump, with their drops since the start."""

    def __init__(self) -> None:
        self._names: dict[tuple[int, int], str] = {}
        self._queues: tuple[ListenQueue, ...] = ()
        self._dumped: set[int] = set()
        self._drops: dict[Key, int | None] = {}
        self._last_ns = -1
        self._noted = np.empty(0, np.uint64)

    def note(self, part: RecordColumns) -> None:
        """Take in who serves, from EVENT_HANDSHAKE records."""
        process = words_of(part, "process")
        served = np.flatnonzero((part["role"] == ROLE["server"]) & (process[0] != 0))
        if not len(served):
            return
        netns, port, process = part["netns"][served], part["local_port"][served], process[:, served]
        keys = hashed(netns, port, *process)
        fresh = np.flatnonzero(~is_among(keys, self._noted))
        if not len(fresh):
            return
        noted, first = np.unique(keys[fresh], return_index=True)
        self._noted = union(self._noted, noted) if len(self._noted) < MOST_NOTED else noted
        for at in fresh[first].tolist():
            place, name = (int(netns[at]), int(port[at])), name_text(process[:, at].tobytes())
            if name and self._names.setdefault(place, name) != name:
                self._names[place] = ""

    def add_snapshot(self, snapshot: Snapshot) -> None:
        """Take in a dump; it may come more than once."""
        if snapshot.time_ns <= self._last_ns:
            return
        self._last_ns = snapshot.time_ns
        before = {queue.cookie: queue for queue in self._queues}
        self._forget_names(before, snapshot.queues)
        for queue in snapshot.queues:
            known = before.get(queue.cookie)
            start = known.drops if known else 0 if queue.netns in self._dumped else queue.drops
            self._add(self._key(queue), None if queue.drops is None else max(queue.drops - (start or 0), 0))
        self._queues = snapshot.queues
        self._dumped |= {moment.netns for moment in snapshot.moments}

    def rows(self) -> tuple[Listener, ...]:
        """Return all, the fullest first."""
        found: dict[Key, Listener] = {key: Listener(*key, None, None, drops) for key, drops in self._drops.items()}
        for queue in self._queues:
            key = self._key(queue)
            one = Listener(*key, queue.waiting, queue.limit, self._drops.get(key))
            if found.get(key) is None or found[key].limit is None or one.fullness > found[key].fullness:
                found[key] = one
        return tuple(sorted(found.values(), key=lambda row: (-row.fullness, len(row.port), row.port, row.process)))

    def _key(self, queue: ListenQueue) -> Key:
        key = str(queue.port), self._names.get((queue.netns, queue.port), "")
        return key if key in self._drops or len(self._drops) < MOST else (OTHER, "")

    def _add(self, key: Key, drops: int | None) -> None:
        self._drops[key] = drops if self._drops.get(key) is None else (self._drops[key] or 0) + (drops or 0)

    def _forget_names(self, before: Mapping[int, ListenQueue], now: tuple[ListenQueue, ...]) -> None:
        """Forget who served where another socket listens now."""
        cookies = {queue.cookie for queue in now}
        gone = {(queue.netns, queue.port) for queue in before.values() if queue.cookie not in cookies}
        for place in gone & self._names.keys():
            del self._names[place]
            self._noted = self._noted[:0]
