"""How long connections were in each state: a histogram a state, over all label sets.

Most connections of a batch pass through the same states, as clients do, and as servers do. So they are taken together by the
set of their states, and each state's times are gathered at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.counted import TIMED_STATES, Times
from tracer.model.batch import Part, Rows
from tracer.model.histogram import Durations, Histogram
from tracer.model.tcp import FLAG, STATES

# A connection spends no time in CLOSE and LISTEN; those are where it comes from and where it ends.
_BITS = np.array([0 if STATES[n] in {"close", "listen"} else 1 << n for n in range(TIMED_STATES)], np.uint16)
_ALL = np.bitwise_or.reduce(_BITS)


class StateTimes:
    """Times of connections that were seen from their start, by state."""

    def __init__(self) -> None:
        self._times = Durations()
        self._times.reserve(len(STATES))

    def add(self, part: Part) -> None:
        """Take in records of ends."""
        part = part.where(part["flags"] & FLAG["gap"] == 0)
        times = part.records.words_of("state_ns")
        for states, places in _alike(part["visited"] & _ALL, part.index):
            for state in np.flatnonzero(states & _BITS).tolist():
                self._times.add_to(state, times[state].take(places))

    def add_counts(self, times: Times) -> None:
        """Take in ends that the kernel has counted, a row a state."""
        self._times.add_counts(np.arange(len(times.sums)), times)

    def snapshot(self) -> Histogram:
        """Return an immutable copy, a row for each of STATES."""
        return self._times.snapshot(slice(len(STATES)))


def _alike(visited: NDArray[np.uint16], index: Rows) -> Iterator[tuple[int, Rows]]:
    """Yield each set of states, and the places of the records that have it."""
    while len(index):
        same = visited == visited[0]
        yield int(visited[0]), index[np.flatnonzero(same)]
        rest = np.flatnonzero(~same)
        visited, index = visited[rest], index[rest]
