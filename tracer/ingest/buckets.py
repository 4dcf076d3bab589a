"""The bounds of histograms of durations, which the kernel (bpf/tally.h) and the model have in common.

Eight buckets per power of two of a second, from 2**-20 s (1 us) to 2**23 s (97 days): those of Prometheus's native histograms
with schema 3.
"""

from __future__ import annotations

from math import isqrt

import numpy as np

PER_OCTAVE = 8
FIRST_OCTAVE, LAST_OCTAVE = -20, 23


def _bound_ns(step: int) -> int:
    """Return 2**(step/8) seconds in whole nanoseconds, rounded down, with no floating point in it.

    Times are whole nanoseconds, so `t <= bound` and `t <= floor(bound)` are the same question: bounds stay exact. The
    eighth root is three integer square roots.
    """
    eighth_power = 10**72 << step if step >= 0 else 10**72 >> -step
    return isqrt(isqrt(isqrt(eighth_power)))


BOUNDS_NS = np.array(
    [_bound_ns(step) for step in range(FIRST_OCTAVE * PER_OCTAVE, LAST_OCTAVE * PER_OCTAVE + 1)], dtype=np.uint64
)
"""Upper bounds, inclusive, of every bucket but the last, shape (345,); all are below 2**53, which float64 has exactly."""
