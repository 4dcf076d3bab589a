"""How long connections were in each state: a histogram a state, over all label sets.

Most connections of a batch pass through the same states, as clients do, and as servers do. So they are taken together by the
set of their states, and each state's times are gathered at once.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.counted import TIMED_STATES, Times
from tracer.model.alike import Alike
from tracer.model.histogram import Durations, Histogram
from tracer.model.tcp import STATES

# A connection spends no time in CLOSE and LISTEN; those are where it comes from and where it ends.
_BITS = np.array([0 if STATES[n] in {"close", "listen"} else 1 << n for n in range(TIMED_STATES)], np.uint16)
_ALL = np.bitwise_or.reduce(_BITS)


@lru_cache
def _states(passed: int) -> NDArray[np.intp]:
    """Return the states of a set."""
    return np.flatnonzero(passed & _BITS)


class StateTimes:
    """Times of connections that were seen from their start, by state."""

    def __init__(self) -> None:
        self._times = Durations()
        self._times.reserve(len(STATES))

    def add(self, alike: Alike) -> None:
        """Take in records of ends."""
        alike = alike.without("gap")
        times = alike.part.records.words_of("state_ns")
        visited = alike.examples["visited"] & _ALL
        for passed in set(visited.tolist()):
            places, states = alike.places(visited == passed), _states(passed)
            if len(states):
                ns = np.empty((len(states), len(places)), np.uint64)
                for row, state in zip(ns, states.tolist(), strict=True):
                    times[state].take(places, out=row, mode="clip")
                self._times.add(states, ns.reshape(-1), np.array([len(places)], np.uint64).repeat(len(states)))

    def add_counts(self, times: Times) -> None:
        """Take in ends that the kernel has counted, a row a state."""
        self._times.add_counts(np.arange(len(times.sums)), times)

    def snapshot(self) -> Histogram:
        """Return an immutable copy, a row for each of STATES."""
        return self._times.snapshot(slice(len(STATES)))
