"""Durations as histograms: eight buckets per power of two of a second, from 2**-20 s (1 us) to 2**23 s (97 days).

The bounds are those of Prometheus's native histograms with schema 3, so that native.py exports them without a loss. Classic
buckets are at the powers of two up to 64 s, which are bounds too. Recording every value, or a sketch, was the alternative: no
bound on memory, or no exact merge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.buckets import BOUNDS_NS
from tracer.ingest.counted import Times
from tracer.kernel.buckets import FIRST_OCTAVE, PER_OCTAVE
from tracer.model.grid import Grid

LAST_CLASSIC_OCTAVE = 6
CLASSIC_BOUNDS = tuple(2.0**octave for octave in range(FIRST_OCTAVE, LAST_CLASSIC_OCTAVE + 1))
"""Upper bounds in seconds of the classic buckets, +Inf left out."""

BUCKETS = len(BOUNDS_NS) + 1
"""The first bucket holds all from 0 to 2**-20 s, the last all above 2**23 s."""

_LEAST_NS = np.concatenate([np.zeros(1, np.uint64), BOUNDS_NS + np.uint64(1)])
"""The least time of each bucket."""

_LOWER = np.concatenate([[2.0 ** (FIRST_OCTAVE - 1)], 2.0 ** (np.arange(BUCKETS - 1) / PER_OCTAVE + FIRST_OCTAVE)])
_MIDDLE = _LOWER * 2.0 ** (1 / (2 * PER_OCTAVE))
_CLASSIC_COLUMNS = [*range(0, PER_OCTAVE * len(CLASSIC_BOUNDS), PER_OCTAVE), BUCKETS - 1]


# For the look-up in bucket_index: 64 equal cells in every octave, numbered by the top bits of a float64. What is below the
# first cell with a bound stays zero, and so takes no memory: the system has no page for it until it is written.
_MANTISSA_REST = np.uint64(52 - 6)
_FIRST_CELL, _LAST_CELL = (int(np.float64(2**n).view(np.uint64) >> _MANTISSA_REST) for n in (9, 53))
_CELL_EDGES = (np.arange(_FIRST_CELL, _LAST_CELL, dtype=np.uint64) << _MANTISSA_REST).view(np.float64)
_BUCKET_OF_CELL = np.append(np.searchsorted(BOUNDS_NS.astype(np.float64), _CELL_EDGES, side="left"), BUCKETS - 1).astype(
    np.uint64
)
"""From the first cell on."""

# A cell's bucket stands above these bits of a number, and in them what carries to the next bucket with a time above the bound.
_BELOW_BUCKET = np.uint64(54)
_LONGEST_NS = np.uint64(1 << 53)
_EDGES = np.zeros(_LAST_CELL + 1, np.uint64)
_EDGES[_FIRST_CELL:] = (
    (_BUCKET_OF_CELL << _BELOW_BUCKET) + np.uint64((1 << 54) - 1) - np.append(BOUNDS_NS, _LONGEST_NS)[_BUCKET_OF_CELL]
)


def bucket_index(ns: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Return the bucket of each time in nanoseconds, same shape; a time equal to a bound belongs below it.

    The same as np.searchsorted(BOUNDS_NS, ns), whose branches real data mispredict, several times faster: a table gives the
    bucket of the lower edge of the time's cell, and a cell holds one bound at most.
    """
    return _buckets(np.minimum(ns, _LONGEST_NS), ns.astype(np.float64))


def _buckets(ns: NDArray[np.uint64], times: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the same; ns: none above _LONGEST_NS, all of which are alike. times: the same as floats, which are used up."""
    cells = times.view(np.uint64)
    cells >>= _MANTISSA_REST
    found = _EDGES.take(cells.view(np.intp), mode="clip")
    found += ns
    found >>= _BELOW_BUCKET
    return found.view(np.intp)


@dataclass(frozen=True)
class Histogram:
    """Histograms side by side, one a row; arrays are read-only.

    counts: shape (rows, BUCKETS), uint64. sums: seconds, shape (rows,), float64. maxima: nanoseconds, shape (rows,), uint64.
    """

    counts: NDArray[np.uint64]
    sums: NDArray[np.float64]
    maxima: NDArray[np.uint64]

    @property
    def totals(self) -> NDArray[np.uint64]:
        """Observations in each row, shape (rows,)."""
        totals: NDArray[np.uint64] = self.counts.sum(axis=1, dtype=np.uint64)
        return totals

    def of(self, rows: slice) -> Histogram:
        """Return those rows, not copied."""
        return Histogram(self.counts[rows], self.sums[rows], self.maxima[rows])

    def merged(self, rows: NDArray[np.intp]) -> Histogram:
        """Return those rows as one histogram of one row."""
        return Histogram(
            self.counts[rows].sum(axis=0, dtype=np.uint64, keepdims=True),
            self.sums[rows].sum(keepdims=True),
            self.maxima[rows].max(keepdims=True, initial=0),
        )

    def since(self, earlier: Histogram) -> Histogram:
        """Return what came after an earlier state of the same rows; maxima are known only as well as other quantiles."""
        counts = self.counts - earlier.counts
        return Histogram(counts, self.sums - earlier.sums, upper_maxima(counts, self.maxima))


def upper_maxima(counts: NDArray[np.uint64], maxima: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return in nanoseconds what the largest of some observations is, shape (rows,): its bucket's middle, or maxima if less.

    counts: shape (rows, BUCKETS); maxima: of these and others, shape (rows,).
    """
    highest = BUCKETS - 1 - (counts[:, ::-1] > 0).argmax(axis=1)
    middle = np.where(highest == BUCKETS - 1, np.inf, _MIDDLE[highest] * 1e9)
    return np.minimum(maxima, middle).astype(np.uint64)


def stacked(histograms: Sequence[Histogram]) -> Histogram:
    """Return histograms one below the other."""
    return Histogram(*(np.concatenate([getattr(each, name) for each in histograms]) for name in ("counts", "sums", "maxima")))


def classic(histogram: Histogram) -> NDArray[np.uint64]:
    """Return cumulative counts at CLASSIC_BOUNDS and +Inf, shape (rows, 28)."""
    cumulative: NDArray[np.uint64] = histogram.counts.cumsum(axis=1, dtype=np.uint64)[:, _CLASSIC_COLUMNS]
    return cumulative


def quantile(histogram: Histogram, q: float) -> NDArray[np.float64]:
    """Return the q-quantile of each row in seconds, shape (rows,); nan where a row is empty.

    It stands for the smallest observation that is not exceeded by at least the share q, and is within 4.5 % of it from 2**-20
    to 2**23 s, because it is the geometric middle of that observation's bucket, 2**(1/8) wide. (Interpolating by rank, as
    Prometheus does, is better for many observations but can be 9 % off for few.) It never exceeds the largest observation,
    which is exact, and above 2**23 s it is that one's geometric mean with 2**23 s.
    """
    cumulative = histogram.counts.cumsum(axis=1)
    totals = cumulative[:, -1]
    # 0.07 * 100 is a little more than 7 in floating point, and must not become 8.
    rank = np.clip(np.ceil(q * totals - 1e-9), 1, None)
    bucket = (cumulative < rank[:, None]).sum(axis=1).clip(max=BUCKETS - 1)
    maxima = histogram.maxima / 1e9
    values = np.where(bucket == BUCKETS - 1, np.sqrt(_LOWER[-1] * maxima), _MIDDLE[bucket])
    values = np.where(rank >= totals, maxima, np.minimum(values, maxima))
    return np.where(totals > 0, values, np.nan)


MANY = 1024
"""Times a row that are counted faster row by row."""

ENOUGH, PARTS = 8192, 64
"""Times, and calls with some, that are counted together: what that costs beyond them is small beside them."""


class Durations:
    """Histograms that are being filled, one a row. Few times wait for more, or until somebody looks."""

    def __init__(self) -> None:
        self._counts = Grid(BUCKETS, np.uint64)
        self._sums_ns = Grid(1, np.float64)
        self._maxima = Grid(1, np.uint64)
        self._waiting: list[tuple[NDArray[np.intp], NDArray[np.uint64], NDArray[np.intp]]] = []
        self._values = 0

    def reserve(self, rows: int) -> None:
        """Make room for that many rows."""
        for grid in (self._counts, self._sums_ns, self._maxima):
            grid.reserve(rows)

    def add(
        self, rows: NDArray[np.intp], ns: NDArray[np.uint64], numbers: NDArray[np.uint64] | None = None, *, zeros: bool = True
    ) -> None:
        """Add times in nanoseconds, shape (n,): to each of the rows, shape (k,), the next so many; one if not given.

        zeros: whether a time of 0 counts.
        """
        if not len(ns):
            return
        spread = np.ones(len(rows), np.intp) if numbers is None else numbers.view(np.intp)
        self._waiting.append((rows, ns, spread))
        self._values += len(ns)
        if not zeros and np.count_nonzero(ns) < len(ns):
            none = np.add.reduceat(ns == 0, spread.cumsum() - spread, dtype=np.int64)
            self._counts.add(rows, 0, -none)  # of what is counted as 0 below
        if self._values >= ENOUGH or len(self._waiting) >= PARTS:
            self._count()

    def _count(self) -> None:
        """Count the times that wait."""
        if not self._waiting:
            return
        waiting = self._waiting
        rows, ns, numbers = (np.concatenate(each) for each in zip(*waiting, strict=True)) if len(waiting) > 1 else waiting[0]
        self._waiting, self._values = [], 0
        starts, times = numbers.cumsum() - numbers, ns.astype(np.float64)
        maxima = np.maximum.reduceat(ns, starts)
        self._sums_ns.add_at(rows, np.add.reduceat(times, starts))
        self._maxima.raise_to(rows, maxima)
        cells = _buckets(ns if maxima.max() <= _LONGEST_NS else np.minimum(ns, _LONGEST_NS), times)
        if len(ns) < MANY * len(rows):
            cells += (rows * BUCKETS).repeat(numbers)
            self._counts.add_at(cells)
            return
        for row, place, number in zip(rows.tolist(), starts.tolist(), numbers.tolist(), strict=True):
            np.add.at(self._counts.values[row], cells[place : place + number], np.uint64(1))

    def add_counts(self, rows: NDArray[np.intp], times: Times) -> None:
        """Add what was counted by bucket to rows, shape (n,).

        Where the largest of all is in another bucket than the largest of these, this one is known by its bucket alone.
        """
        self._count()
        self._counts.add_rows(rows, times.counts)
        self._sums_ns.add(rows, 0, times.sums)
        there = np.flatnonzero(times.counts.any(axis=1))
        highest = times.counts.shape[1] - 1 - (times.counts[there, ::-1] > 0).argmax(axis=1)
        most = times.most[there]
        self._maxima.raise_to(rows[there], np.where(bucket_index(most) == highest, most, _LEAST_NS[highest]))

    def fold(self, rows: NDArray[np.intp], onto: NDArray[np.intp]) -> None:
        """Add rows to others, both of shape (n,), and empty them."""
        self._count()
        self._counts.fold(rows, onto)
        self._sums_ns.fold(rows, onto)
        self._maxima.fold(rows, onto, np.maximum)

    def snapshot(self, rows: NDArray[np.intp] | slice) -> Histogram:
        """Return an immutable copy of some rows."""
        self._count()
        sums = self._sums_ns.values[rows, 0] / 1e9
        sums.flags.writeable = False
        return Histogram(self._counts.snapshot(rows), sums, self._maxima.snapshot(rows)[:, 0])
