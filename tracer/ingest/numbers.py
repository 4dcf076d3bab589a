"""What records tell of network namespaces that were found through a process: their numbers.

/proc tells such a namespace's number only to who may trace the process. But the records of its connections carry it, so that a
socket of its table with the ends of a record's connection says which it is.
"""

from __future__ import annotations

import threading
from collections import deque

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.decode import Events
from tracer.ingest.sets import is_among
from tracer.ingest.sockdiag import Sockets
from tracer.ingest.transposed import RecordColumns

MAX_NAMESPACES = 256
CONNECTIONS = 32
"""Of how many namespaces, and of how many of the latest connections of each, the ends are kept."""

Ends = tuple[bytes, int, bytes, int]


class Numbers:
    """Ends of connections in namespaces that are not listed; for two threads.

    listed: the numbers of the namespaces whose sockets are read, sorted, shape (n,). has_news: whether there were records of a
    namespace that no record had told of before, since it was last set to False.
    """

    def __init__(self) -> None:
        self.listed: NDArray[np.uint32] = np.empty(0, np.uint32)
        self.has_news = False
        self._ends: dict[int, deque[Ends]] = {}
        self._lock = threading.Lock()

    def note_records(self, events: RecordColumns) -> None:
        """Take in the connections of records, of namespaces that are not listed yet."""
        if not len(events) or not len(self.listed):
            return
        unknown = np.flatnonzero(~is_among(events["netns"], self.listed))
        if not len(unknown):
            return
        latest = events[unknown[-CONNECTIONS:]]
        with self._lock:
            for netns, ends in zip(latest["netns"].tolist(), _ends(latest), strict=True):
                self._note(netns, ends)

    def _note(self, netns: int, ends: Ends) -> None:
        if netns not in self._ends and len(self._ends) == MAX_NAMESPACES:
            del self._ends[next(iter(self._ends))]
        self.has_news |= netns not in self._ends
        self._ends.setdefault(netns, deque(maxlen=CONNECTIONS)).append(ends)

    def find(self, sockets: Sockets) -> int | None:
        """Return the number of the namespace that these are the sockets of; None when no record tells."""
        with self._lock:
            if not self._ends:
                return None
            here = set(_ends(sockets))
            # loopback's ends can be the same in several: the one that has most
            shared = {netns: len(here.intersection(ends)) for netns, ends in self._ends.items()}
            found = max(shared, key=lambda netns: shared[netns])
            if not shared[found]:
                return None
            del self._ends[found]
            return found


def _ends(rows: Events | Sockets) -> list[Ends]:
    """Return the ends of each row; column by column, as members of single rows cost ten times as much."""
    columns = []
    for side in ("local", "remote"):
        columns += [np.ascontiguousarray(rows[f"{side}_address"]).view("V16")[:, 0].tolist(), rows[f"{side}_port"].tolist()]
    return list(zip(*columns, strict=True))
