"""Counts over time where nobody knows how long it will go on: columns, whose width doubles when they are full.

A report is made in one pass, with a memory that does not grow. So the columns begin narrow, and two become one whenever a time
lies behind the last: at the end they cover between a half and all of their number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.decode import EVENT, Events
from tracer.kernel.buckets import FIRST_OCTAVE, PER_OCTAVE
from tracer.model.histogram import BUCKETS, bucket_index
from tracer.model.tcp import FLAG, KIND, ROLES

COLUMNS = 96
FIRST_WIDTH_NS = 1_000_000
PEERS = 256
"""Of how many peers retransmissions are kept apart at a time; when there are more, the smaller half becomes the rest."""

PER_ROW = 4
"""Buckets of a histogram in a row of latencies: two rows are a factor of two."""

LATENCIES = -(-BUCKETS // PER_ROW)

Counts = NDArray[np.int64]


def latency_bounds(row: int) -> tuple[float, float]:
    """Return between which seconds a row of latencies is; what is shorter is in the first, and what is longer in the last."""
    low, high = ((PER_ROW * each - 1) / PER_OCTAVE + FIRST_OCTAVE for each in (row, row + 1))
    return 2.0**low, 2.0**high


@dataclass(frozen=True)
class Timeline:
    """Counts by row and time: shape (rows, columns), of which a column begins every width_ns from start_ns on."""

    start_ns: int
    width_ns: int
    counts: Counts

    def of(self, rows: slice | int) -> Timeline:
        """Return some rows."""
        return Timeline(self.start_ns, self.width_ns, np.atleast_2d(self.counts[rows]))


class OverTime:
    """Rows of counts over time. start_ns: when the first column begins, None: with the first that comes."""

    def __init__(self, rows: int, start_ns: int | None = None) -> None:
        self._counts: Counts = np.zeros((rows, COLUMNS), np.int64)
        self._start = start_ns
        self._width = FIRST_WIDTH_NS

    def add(self, rows: NDArray[np.intp], times_ns: NDArray[np.uint64], counts: Any = 1) -> None:
        """Add counts to rows at times, each of shape (n,); what is before the start belongs to the first column."""
        if not len(rows):
            return
        if self._start is None:
            self._start = int(times_ns.min())
        after = np.maximum(times_ns.astype(np.int64) - self._start, 0)
        self._widen(int(after.max()))
        np.add.at(self._counts, (rows, after // self._width), counts)

    def _widen(self, last: int) -> None:
        while last >= self._width * COLUMNS:
            pairs = self._counts.reshape(len(self._counts), COLUMNS // 2, 2).sum(axis=2)
            self._counts[:, : COLUMNS // 2], self._counts[:, COLUMNS // 2 :] = pairs, 0
            self._width *= 2

    def fold(self, rows: NDArray[np.intp], onto: int) -> None:
        """Add rows to another one, and empty them."""
        self._counts[onto] += self._counts[rows].sum(axis=0)
        self._counts[rows] = 0

    @property
    def totals(self) -> Counts:
        """The sum of each row."""
        totals: Counts = self._counts.sum(axis=1)
        return totals

    def timeline(self, end_ns: int = 0) -> Timeline:
        """Return what was counted, up to end_ns at least."""
        start = self._start or 0
        used = np.flatnonzero(self._counts.any(axis=0))
        columns = max(int(used[-1]) + 1 if len(used) else 1, min(-(-(end_ns - start) // self._width), COLUMNS))
        return Timeline(start, self._width, self._counts[:, :columns].copy())


class HandshakesOverTime:
    """How long handshakes took, over time: by role and, in rows of LATENCIES, by duration."""

    def __init__(self, start_ns: int | None) -> None:
        self._times = OverTime(len(ROLES) * LATENCIES, start_ns)

    def add(self, events: Events) -> None:
        """Take in the handshakes among records, as far as their duration is known."""
        known = events[(events["kind"] == KIND["handshake"]) & (events["flags"] & FLAG["handshake_unknown"] == 0)]
        role = np.minimum(known["role"], len(ROLES) - 1).astype(np.intp)
        latency = bucket_index(np.ascontiguousarray(known["handshake_ns"])) // PER_ROW
        self._times.add(role * LATENCIES + latency, known["time_ns"])

    def timeline(self, role: int, end_ns: int) -> Timeline:
        """Return those of a role, by its number in ROLES: shape (LATENCIES, columns)."""
        return self._times.timeline(end_ns).of(slice(role * LATENCIES, (role + 1) * LATENCIES))


class RetransmissionsOverTime:
    """Retransmitted segments over time by peer: those with most, and the rest."""

    def __init__(self, start_ns: int | None) -> None:
        self._times = OverTime(PEERS + 1, start_ns)
        self._rows: dict[bytes, int] = {}
        self._records: dict[bytes, Events] = {}

    def add(self, events: Events) -> None:
        """Take in the retransmissions among records, apart from those that never left."""
        again = events[(events["kind"] == KIND["retransmit"]) & (events["flags"] & FLAG["failed"] == 0)]
        if not len(again):
            return
        addresses = np.ascontiguousarray(again["remote_address"]).view("V16").ravel()
        peers, first, inverse, counts = np.unique(addresses, return_index=True, return_inverse=True, return_counts=True)
        names = [peer.tobytes() for peer in peers]
        most = np.argsort(-counts, kind="stable")[: PEERS // 2].tolist()
        self._make_room({names[at] for at in most})
        for at in most:
            if names[at] not in self._rows:
                self._claim(names[at], again[first[at] : first[at] + 1].copy())
        rows = np.array([self._rows.get(name, 0) for name in names], np.intp)
        self._times.add(rows[inverse], again["time_ns"], again["segments"].astype(np.int64))

    def _claim(self, name: bytes, record: Events) -> None:
        self._rows[name] = min(set(range(1, PEERS + 1)) - set(self._rows.values()))
        self._records[name] = record

    def _make_room(self, keep: set[bytes]) -> None:
        """Fold the smaller half where not all of these have room."""
        if len(self._rows.keys() | keep) > PEERS:
            self._fold([name for name in self._sorted() if name not in keep][-PEERS // 2 :])

    def _sorted(self) -> list[bytes]:
        totals = self._times.totals
        return sorted(self._rows, key=lambda name: -int(totals[self._rows[name]]))

    def _fold(self, names: list[bytes]) -> None:
        for name in names:
            del self._records[name]
        self._times.fold(np.array([self._rows.pop(name) for name in names], np.intp), 0)

    def largest(self, count: int, end_ns: int) -> tuple[Events, Timeline]:
        """Return a record of each peer with most, shape (n,), n <= count, and the timeline; its last row is the rest."""
        self._fold(self._sorted()[count:])
        shown = self._sorted()
        records = np.concatenate([np.empty(0, EVENT), *(self._records[name] for name in shown)])
        timeline = self._times.timeline(end_ns)
        rows = np.array([*(self._rows[name] for name in shown), 0], np.intp)
        return records, Timeline(timeline.start_ns, timeline.width_ns, timeline.counts[rows])
