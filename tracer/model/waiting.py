"""Retransmitted SYNs and SYN-ACKs of services that have no label set yet: they wait a moment for the handshake that earns one.

A service's first connection can lose its SYN. Counted under `other` at once, that loss would never be in the service's own
series, as no counter may fall. So such a count waits until the handshake is done, and goes to `other` if it was not by then.
SECONDS is enough for two losses in a row, and less than lies between two scrapes. As many as find no room do not wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SECONDS = 3
LIMIT = 1024

Rows = NDArray[np.intp]
Keys = NDArray[np.uint64]


class Count(NamedTuple):
    """Retransmitted segments of a kind. key: of their label set; row: where they belong if there never is one."""

    due_ns: int
    key: int
    row: int
    kind: int
    segments: int


class Waiting:
    """Counts that wait, the oldest first. find: returns the row of the label set of each key, -1 for those that have none."""

    def __init__(self, find: Callable[[Keys], Rows]) -> None:
        self._find = find
        self._counts: deque[Count] = deque()

    def add(self, keys: Keys, rows: Rows, kinds: NDArray[np.uint8], segments: NDArray[np.uint32], now_ns: int) -> int:
        """Take in counts, columns of shape (n,); return how many of them: the first ones, as there is room."""
        taken = min(len(keys), LIMIT - len(self._counts))
        columns = (column[:taken].tolist() for column in (keys, rows, kinds, segments))
        due_ns = now_ns + SECONDS * 1_000_000_000
        self._counts += [Count(due_ns, *row) for row in zip(*columns, strict=True)]
        return taken

    def due(self, now_ns: int | None) -> Iterator[Count]:
        """Yield the counts whose row is known now, or that waited for long enough (all, without a time), and forget them."""
        if not self._counts:
            return
        found = self._find(np.array([count.key for count in self._counts], np.uint64)).tolist()
        counts, self._counts = self._counts, deque()
        for count, row in zip(counts, found, strict=True):
            if row >= 0:
                yield count._replace(row=row)
            elif now_ns is None or count.due_ns <= now_ns:
                yield count
            else:
                self._counts.append(count)
