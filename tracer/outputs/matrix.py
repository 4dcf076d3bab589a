"""A Series as one matrix, a row a label set, for sums and differences of everything that only grows; and back.

float64 holds whole numbers up to 2**53 exactly, which is what a sample can be in the end.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracer.model.histogram import Histogram
from tracer.model.report import Series

Matrix = NDArray[np.float64]
Rows = NDArray[np.intp]

COUNTERS = (
    *("handshakes", "time_waits", "failures", "closes", "retransmitted", "failed_retransmits"),
    *("resets_sent", "resets_received", "sent_bytes", "received_bytes", "partial"),
    *("sent_segments", "received_segments", "out_of_order_segments", "busy_us", "limited_us"),
)
HISTOGRAMS = ("handshake_times", "connection_times", "srtt")
ABOUT = ("serials", "records", "born_ns", "active_ns", "listens", "connections", "queues", "rtt")


def pack(series: Series, rows: Rows | slice = slice(None)) -> Matrix:
    """Return some rows of a Series as a matrix, shape (n, columns)."""
    parts = [getattr(series, name)[rows] for name in COUNTERS]
    for histogram in (getattr(series, name) for name in HISTOGRAMS):
        parts += [histogram.counts[rows], histogram.sums[rows]]
    return np.concatenate([part.reshape(len(part), prod(part.shape[1:])).astype(np.float64) for part in parts], axis=1)


def summed(series: Series, mask: NDArray[np.bool_]) -> Matrix:
    """Return the sum of the rows for which mask, shape (rows,), is true, as a row of such a matrix, shape (columns,).

    Nothing is copied: with thousands of label sets a matrix of all would be as large as all that the model keeps.
    """
    parts: list[NDArray[Any]] = []
    for histogram in (getattr(series, name) for name in HISTOGRAMS):
        parts += [histogram.counts, histogram.sums]
    parts = [*(getattr(series, name) for name in COUNTERS), *parts]
    sums = [part.sum(axis=0, where=mask.reshape(-1, *[1] * (part.ndim - 1))) for part in parts]
    return np.concatenate([np.atleast_1d(each).astype(np.float64) for each in sums])


def unpack(matrix: Matrix, like: Series) -> Series:
    """Return a matrix as a Series, with all else as in `like`, which has as many rows."""
    found: dict[str, Any] = {}
    at = 0
    for name in COUNTERS:
        old = getattr(like, name)
        width = prod(old.shape[1:])
        found[name] = matrix[:, at : at + width].astype(np.uint64).reshape(old.shape)
        at += width
    for name in HISTOGRAMS:
        histogram = getattr(like, name)
        width = histogram.counts.shape[1]
        counts, sums = matrix[:, at : at + width].astype(np.uint64), matrix[:, at + width].copy()
        found[name] = Histogram(counts, sums, histogram.maxima)
        at += width + 1
    return replace(like, **found)


def taken(series: Series, rows: Rows) -> Series:
    """Return some rows of a Series."""
    found: dict[str, Any] = {name: getattr(series, name)[rows] for name in (*COUNTERS, *ABOUT)}
    for name in HISTOGRAMS:
        histogram = getattr(series, name)
        found[name] = Histogram(histogram.counts[rows], histogram.sums[rows], histogram.maxima[rows])
    return replace(series, labels=tuple(series.labels[row] for row in rows.tolist()), **found)
