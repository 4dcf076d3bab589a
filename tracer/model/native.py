"""A histogram as Prometheus's native histograms have it: only the buckets that hold something, as spans and deltas.

With schema 3 bucket i holds what is above 2**((i - 1) / 8) and at most 2**(i / 8) seconds: the model's own bounds. The first
bucket is the zero bucket, whose threshold is 2**-20 s. The last goes where infinity would: neither has an upper bound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracer.kernel.buckets import FIRST_OCTAVE, PER_OCTAVE
from tracer.model.histogram import BUCKETS

SCHEMA = PER_OCTAVE.bit_length() - 1
ZERO_THRESHOLD = 2.0**FIRST_OCTAVE
OVERFLOW_INDEX = 1024 * PER_OCTAVE + 1
"""Of the bucket from the largest float64 (2**1024, nearly) to infinity."""

_INDEX = np.append(np.arange(BUCKETS - 1) + FIRST_OCTAVE * PER_OCTAVE, OVERFLOW_INDEX)


@dataclass(frozen=True)
class Native:
    """A native histogram's buckets.

    zero: observations of at most ZERO_THRESHOLD. spans: (offset, length) of runs of buckets that hold something; the first
    offset is an index, later ones are the gap to the run before. deltas: of each bucket's count to the one before it, of the
    first one's to 0.
    """

    zero: int
    spans: tuple[tuple[int, int], ...]
    deltas: tuple[int, ...]


def native(counts: NDArray[np.uint64]) -> Native:
    """Return one row of a Histogram's counts, shape (BUCKETS,), as a native histogram."""
    used = np.flatnonzero(counts[1:]) + 1
    deltas = np.diff(counts[used].astype(np.int64), prepend=0)
    return Native(int(counts[0]), tuple(_spans(_INDEX[used])), tuple(deltas.tolist()))


def _spans(indices: NDArray[np.intp]) -> list[tuple[int, int]]:
    starts = np.flatnonzero(np.diff(indices, prepend=-np.iinfo(np.int32).max) != 1)
    ends = np.append(starts[1:], len(indices))
    before = np.append(0, indices[starts[1:] - 1] + 1)
    return list(zip((indices[starts] - before[: len(starts)]).tolist(), (ends - starts).tolist(), strict=True))
