"""The bounds of histograms of durations, which the programs (bpf/times.h) and the model have in common.

Eight buckets per power of two of a second, from 2**-20 s (1 us) to 2**23 s (97 days): those of Prometheus's native histograms
with schema 3.
"""

from __future__ import annotations

from bisect import bisect_left
from math import isqrt

PER_OCTAVE = 8
FIRST_OCTAVE, LAST_OCTAVE = -20, 23

KEPT, TAKEN = 8, 4
"""Bits of a time that are left, and that are taken off at once, as cell_of() in bpf/times.h has it."""


def _bound_ns(step: int) -> int:
    """Return 2**(step/8) seconds in whole nanoseconds, rounded down, with no floating point in it.

    Times are whole nanoseconds, so `t <= bound` and `t <= floor(bound)` are the same question: bounds stay exact. The
    eighth root is three integer square roots.
    """
    eighth_power = 10**72 << step if step >= 0 else 10**72 >> -step
    return isqrt(isqrt(isqrt(eighth_power)))


BOUNDS_NS = tuple(_bound_ns(step) for step in range(FIRST_OCTAVE * PER_OCTAVE, LAST_OCTAVE * PER_OCTAVE + 1))
"""Upper bounds, inclusive, of every bucket but the last; all are below 2**53, which float64 has exactly."""


def edges(cells: int) -> tuple[int, ...]:
    """Return for each of so many cells of a time the bucket of its lower edge, and that one's bound, in one number.

    The bucket is in the lower eight bits.
    """
    found = []
    for cell in range(cells):
        taken, bits = divmod(cell, 1 << KEPT)
        bucket = bisect_left(BOUNDS_NS, bits << taken * TAKEN)
        found.append(BOUNDS_NS[bucket] << 8 | bucket)
    return tuple(found)
