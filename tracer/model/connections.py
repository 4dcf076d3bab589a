"""Connections that are open now, by label set: changed by each record, and put right by each dump of all sockets.

Theory of operation. A handshake adds one to its service (namespace, role, port), a close takes one off. What was open before
the tracing, or whose record was lost, only a dump tells. But a dump takes its time: what opened or closed meanwhile is in it
or not. So a dump gives two bounds for each service: what it found less all that closed meanwhile, and with all that opened;
both with what came after it. A count between them agrees with the dump and stays as it is; another one is moved to the nearer
bound. So a right count is never disturbed, and a wrong one is right after the next dump in which its service is quiet.

For a namespace that cannot be dumped, and with a filter that a dump cannot apply, there are the records alone: a connection
counts only when its handshake was seen.

Of the labels a dump knows role, port and namespace. What it finds in addition stands in the label set whose other labels are
empty; what it does not find is taken from there first, then from the service's largest label sets.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.sets import is_in, unique
from tracer.ingest.snapshot import MARGIN_NS, Moment, OpenService, Snapshot
from tracer.model.alike import Alike
from tracer.model.bycount import ByCount
from tracer.model.dumped import Dumped
from tracer.model.grid import Grid
from tracer.model.labels import LabelSets
from tracer.model.services import ROLE_BITS, Codes, service_codes
from tracer.model.tcp import FLAG, ROLE, ROLES, STATE

Rows = NDArray[np.intp]
REMEMBERED_NS = 10_000_000_000
"""How long changes are kept for the next dump: longer than one of any size takes to arrive."""

_OPENING = 1 << STATE["syn_sent"] | 1 << STATE["syn_recv"]


class _Changes(NamedTuple):
    """What opened (by 1) or closed (-1), until last_ns.

    codes: services; in_a_row: how many changes each one has, shape (k,). times: of all changes, shape (n,). numbers: how many
    connections each of them stands for, shape (n,), one if not given.
    """

    codes: Codes
    in_a_row: NDArray[np.intp]
    times: NDArray[np.uint64]
    by: int
    last_ns: int
    numbers: NDArray[np.int64] | None = None

    def where(self, netns: int, from_ns: int, to_ns: float) -> Iterable[tuple[int, int]]:
        """Return the services of a namespace that had some from one time up to another, and how many of each."""
        here = self.codes >> 16 + ROLE_BITS == netns
        if not np.count_nonzero(here):
            return ()
        there = here.repeat(self.in_a_row) & (self.times >= max(from_ns, 0)) & (self.times <= to_ns)
        codes = self.codes.repeat(self.in_a_row)[there]
        return _tally(codes) if self.numbers is None else zip(codes.tolist(), self.numbers[there].tolist(), strict=True)


class OpenConnections:
    """How many connections are open in each label set.

    unseen_ends, unseen_beginnings: how many connections a dump had to take off, or to add; what it found when a namespace was
    read for the first time is none.
    """

    def __init__(self, sets: LabelSets) -> None:
        self._sets = sets
        self._open = Grid(1, np.float64)
        self._services: Counter[int] = Counter()
        self._changes: deque[_Changes] = deque()
        self._dumped: set[int] = set()
        self._ever_dumped = Dumped()
        self._last_ns = -1
        self.unseen_ends = 0
        self.unseen_beginnings = 0

    def reserve(self, rows: int) -> None:
        """Have room for so many label sets."""
        self._open.reserve(rows)

    def opened(self, alike: Alike) -> None:
        """Add the connections of EVENT_HANDSHAKE records."""
        self._remember(alike, 1)
        self._open.add(alike.rows, 0, alike.numbers)
        self._add(_by_service(alike.services, alike.numbers), 1)

    def closed(self, alike: Alike) -> None:
        """Take off those of EVENT_CLOSE records that were counted."""
        examples, numbers, codes, rows = alike.examples, alike.numbers, alike.services, alike.rows
        self._remember(alike, -1)
        if alike.flags & FLAG["partial"]:
            counted = (examples["flags"] & FLAG["partial"] == 0) | (examples["visited"] & _OPENING != 0)
            # older ones were counted where a dump has told of them, also when the namespace is let go of meanwhile
            counted |= self._ever_dumped.has(codes >> 16 + ROLE_BITS)
            codes, rows, numbers = codes[counted], rows[counted], numbers[counted]
        self._open.add(rows, 0, -numbers.astype(np.int64))
        self._add(_by_service(codes, numbers), -1)
        self._even_out(rows)

    def add_counts(self, sums: ByCount, rows: Rows) -> None:
        """Add and take off what the kernel has counted; rows: the label set of each place."""
        places = service_codes(sums.records)
        codes = unique(places)
        at, times = np.searchsorted(codes, places), np.full(len(codes), sums.counted.time_ns, np.uint64)
        for by, connections in ((1, sums.opened), (-1, sums.closed)):
            numbers = np.bincount(at, connections, len(codes)).astype(np.int64)
            self._keep(_Changes(codes, np.ones(len(codes), np.intp), times, by, sums.counted.time_ns, numbers))
            self._open.add(rows, 0, by * connections.astype(np.int64))
            self._add(zip(codes.tolist(), numbers.tolist(), strict=True), by)
        self._even_out(rows)

    def add_snapshot(self, snapshot: Snapshot) -> None:
        """Hold the counts against a dump; all records from before its end have been added, and it may come more than once."""
        if snapshot.open is None or snapshot.time_ns <= self._last_ns:
            return
        self._last_ns = snapshot.time_ns
        found = Counter({_code(service): service.connections for service in snapshot.open})
        for moment in snapshot.moments:
            self._hold_against(moment, found)
        self._dumped = {moment.netns for moment in snapshot.moments}
        self._ever_dumped.add(self._dumped)
        self._forget(min((moment.end_ns for moment in snapshot.moments), default=0) - MARGIN_NS)

    def fold(self, rows: Rows, onto: Rows) -> None:
        """Add the connections of label sets to others, both of shape (n,)."""
        self._open.fold(rows, onto)

    def held(self, rows: int) -> NDArray[np.bool_]:
        """Return which of the first label sets have an open connection, shape (rows,)."""
        self.reserve(rows)
        held: NDArray[np.bool_] = self._open.values[:rows, 0] > 0
        return held

    def values(self, rows: Rows) -> NDArray[np.uint64]:
        """Return the connections open now of some label sets, shape (n,)."""
        values: NDArray[np.uint64] = np.maximum(self._open.values[rows, 0], 0).astype(np.uint64)
        return values

    def _add(self, services: Iterable[tuple[int, int]], by: int) -> None:
        for code, count in services:
            self._services[code] += by * count
            missing = -self._services[code]
            if not missing:
                del self._services[code]
            if missing > 0 and not self._is_dumped(np.array([code])).any():
                self._change(code, missing)  # a lost handshake's close, which no dump will correct

    def _even_out(self, rows: Rows) -> None:
        """Have no label set below zero while another one of its service has what is missing there."""
        self.reserve(len(self._sets))
        values = self._open.values[:, 0]
        below = rows[values[rows] < 0]
        for beside in self._sets.services_of(below) if len(below) else ():
            own = np.array(beside[:-1], np.intp)
            missing = -np.minimum(values[own], 0)
            values[own] += missing
            self._take(beside, float(missing.sum()))

    def _hold_against(self, moment: Moment, found: Counter[int]) -> None:
        opened, closed, after = self._changes_around(moment)
        mine = {code for code in (*found, *self._services, *opened, *closed, *after) if _netns(code) == moment.netns}
        first = moment.netns not in self._dumped
        for code in mine:
            now, base = self._services[code], found[code] + after[code]
            least, most = base - closed[code], base + opened[code]
            # what was open before the tracing is in no record: of the first dump its own count, unless changes were under way
            wanted = min(max(now, base if first else least), most)
            if wanted != now:
                self._change(code, wanted - now)
            if not first:
                self.unseen_ends += max(now - wanted, 0)
                self.unseen_beginnings += max(wanted - now, 0)
            if not self._services[code]:
                del self._services[code]

    def _changes_around(self, moment: Moment) -> tuple[Counter[int], Counter[int], Counter[int]]:
        """Return what opened and what closed while a namespace was read, and the sum of both after that; by service."""
        opened, closed, after = Counter[int](), Counter[int](), Counter[int]()
        start, end = moment.start_ns - MARGIN_NS, moment.end_ns + MARGIN_NS
        for changes in self._changes:
            if changes.last_ns < start:
                continue
            for code, count in changes.where(moment.netns, max(end, 0) + 1, math.inf):
                after[code] += changes.by * count
            for code, count in changes.where(moment.netns, start, max(end, 0)):
                (opened if changes.by > 0 else closed)[code] += count
        return opened, closed, after

    def _change(self, code: int, by: float) -> None:
        self._services[code] += int(by)
        service = _netns(code), ROLES[code >> 16 & (1 << ROLE_BITS) - 1], code & 0xFFFF
        if by > 0:
            row = self._sets.service_row(*service)
            self.reserve(len(self._sets))
            self._open.values[row, 0] += by
        else:
            self._take(self._sets.service_rows(*service), -by)

    def _take(self, rows: list[int], count: float) -> None:
        """Take so many from these label sets: from the first, then from the largest, then from the last, which is `other`.

        What none of them has is taken from the first.
        """
        self.reserve(len(self._sets))
        values = self._open.values[:, 0]
        between = np.array(rows[1:-1], np.intp)
        largest = between[np.argsort(-values[between], kind="stable")]
        order = np.array([rows[0], *largest, *rows[1:][-1:]], np.intp)
        there = np.maximum(values[order], 0)
        taken = np.clip(count - (there.cumsum() - there), 0, there)
        values[order] -= taken
        values[rows[0]] -= count - taken.sum()

    def _remember(self, alike: Alike, by: int) -> None:
        times = alike.part["time_ns"]
        self._keep(_Changes(alike.services, alike.numbers.view(np.intp), times, by, int(times.max())))

    def _keep(self, changes: _Changes) -> None:
        self._changes.append(changes)
        self._forget(changes.last_ns - REMEMBERED_NS)

    def _forget(self, before_ns: int) -> None:
        while self._changes and self._changes[0].last_ns < before_ns:
            self._changes.popleft()

    def _is_dumped(self, codes: Codes) -> NDArray[np.bool_]:
        return is_in(codes >> 16 + ROLE_BITS, list(self._dumped))


def _code(service: OpenService) -> int:
    return (service.netns << ROLE_BITS | ROLE[service.role]) << 16 | service.port


def _netns(code: int) -> int:
    return code >> 16 + ROLE_BITS


def _by_service(codes: Codes, numbers: NDArray[np.uint64]) -> Iterable[tuple[int, int]]:
    """Return each service in order, and how many connections it has; codes, numbers: a service's may be there several times."""
    found: dict[int, int] = {}
    for code, number in zip(codes.tolist(), numbers.tolist(), strict=True):
        found[code] = found.get(code, 0) + number
    return sorted(found.items())


def _tally(codes: Codes) -> Iterable[tuple[int, int]]:
    """Return each service, and how often it is there."""
    services, counts = np.unique(codes, return_counts=True)
    return zip(services.tolist(), counts.tolist(), strict=True)
