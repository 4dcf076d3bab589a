"""What events alone tell of the network namespaces whose sockets cannot be listed: marked as such wherever it is shown.

These are the namespaces of pods where /proc shows no process of theirs, and what has neither a process nor, at the start, a
name (ingest/namespaces.py). Of them the records tell how many connections are open (connections.py), and here: the timewait
objects that closes of the last minute have left (TCP_TIMEWAIT_LEN in include/net/tcp.h), and the local ports that clients have
in use towards a destination, which are those of open connections and of such objects. Connections that were open before the
tracing are in neither, nor is a port that a SYN has which nobody answered; and nothing tells how many ports there are.

A destination and a local address are one key, counted up and down, so that the cost does not grow with the connections.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.sets import is_among
from tracer.ingest.snapshot import PortUse, Snapshot
from tracer.ingest.transposed import RecordColumns, Transposed
from tracer.model.alike import Alike, grouped
from tracer.model.batch import Part, Rows
from tracer.model.bycount import ByCount
from tracer.model.naming import OTHER, address_text
from tracer.model.openfigures import ends_key, place_key
from tracer.model.tcp import FLAG, KIND, ROLE, STATE, leaves_time_wait

Tally = Sequence[tuple[bytes, int]]
"""Places, and how often each is there."""

TIMEWAIT_NS = 60_000_000_000
MAX_PLACES = 1 << 14
"""Destinations that are remembered; what comes to more of them is counted together."""

LARGEST = 10

_PLACE = np.dtype([("netns", "=u4"), ("server", "u1"), ("local", "u1", (16,)), ("remote", "u1", (16,)), ("port", ">u2")])
"""A service in a namespace (server: local is its address), or a destination and from where (remote is the service's)."""

_OPENING = 1 << STATE["syn_sent"] | 1 << STATE["syn_recv"]


@dataclass(frozen=True)
class EventSockets:
    """What events tell of namespaces that are not listed. namespaces: their inodes; the rest is as in Snapshot."""

    namespaces: tuple[int, ...] = ()
    time_wait: tuple[tuple[str, int], ...] = ()
    ports: tuple[PortUse, ...] = ()
    ports_other: int | None = None


NO_EVENTS = EventSockets()


class Unlisted:
    """Open ports and timewait objects of the namespaces that are not listed, from records.

    One that is listed for the first time is counted for a minute all the same: it may be so for a moment only.
    """

    def __init__(self) -> None:
        self._listed_ns: dict[int, int] = {}
        self._skipped: NDArray[np.uint32] = np.empty(0, np.uint32)
        self._open: Counter[bytes] = Counter()
        self._waiting: deque[tuple[int, Counter[bytes]]] = deque()
        self._seen: dict[int, int] = {}
        self._looked_ns = -1

    def leave_out(self, snapshot: Snapshot) -> None:
        """Take in which namespaces are listed now."""
        if snapshot.time_ns == self._looked_ns:
            return
        since = -TIMEWAIT_NS if self._looked_ns < 0 else snapshot.time_ns
        self._looked_ns = snapshot.time_ns
        self._listed_ns = {netns: self._listed_ns.get(netns, since) for netns in snapshot.namespaces}
        skipped = [netns for netns, start in self._listed_ns.items() if start <= snapshot.time_ns - TIMEWAIT_NS]
        before, self._skipped = self._skipped, np.array(sorted(skipped), np.uint32)
        if not np.array_equal(before, self._skipped):
            self._forget(set(skipped))

    def _forget(self, skipped: set[int]) -> None:
        for counts in (self._open, *(counter for _, counter in self._waiting)):
            for place in [place for place in counts if _netns(place) in skipped]:
                del counts[place]
        self._seen = {netns: time for netns, time in self._seen.items() if netns not in skipped}

    def add(self, alike: Alike) -> None:
        """Take in a batch of records."""
        others = ~is_among(alike.examples["netns"], self._skipped)
        if not np.count_nonzero(others):
            return
        alike = alike.where(others)
        part, examples = alike.part, alike.examples
        now = int(part.records["time_ns"][part.index.max()])
        self._seen.update(dict.fromkeys(examples["netns"].tolist(), now))
        ended, flags, client = examples["kind"] == KIND["close"], examples["flags"], examples["role"] == ROLE["client"]
        opened, left = examples["kind"] == KIND["handshake"], ended & leaves_time_wait(flags)
        ended &= client & ((flags & FLAG["partial"] == 0) | (examples["visited"] & _OPENING != 0))
        records = part.records
        _count(self._open, _tally(records, alike.places(opened & client)), 1)
        gone = _tally(records, alike.places(ended))
        _count(self._open, gone, -1)
        # most often the same connections
        waiting = gone if np.array_equal(left & client, ended) else _tally(records, alike.places(left & client))
        self._wait(now, [*waiting, *_tally(records, alike.places(left & ~client), server=True)])

    def add_counts(self, sums: ByCount) -> None:
        """Take in what the kernel has counted."""
        others = ~is_among(sums.records["netns"], self._skipped)
        if not others.any():
            return
        now, left = sums.counted.time_ns, sums.counted.time_waits
        self._seen.update(dict.fromkeys(sums.records["netns"][others].tolist(), now))
        client = sums.records["role"] == ROLE["client"]
        from_, to = np.flatnonzero(others & client), np.flatnonzero(others & ~client)
        places = _places(sums.records[from_], server=False)
        _count(self._open, _numbered(places, sums.opened[from_]), 1)
        _count(self._open, _numbered(places, sums.closed[from_]), -1)
        services = _places(sums.records[to], server=True)
        self._wait(now, [*_numbered(places, left[from_]), *_numbered(services, left[to])])

    def _wait(self, now: int, left: Tally) -> None:
        second = now // 1_000_000_000
        if not self._waiting or self._waiting[-1][0] != second:
            self._waiting.append((second, Counter()))
        _count(self._waiting[-1][1], left, 1)
        while self._waiting and (self._waiting[0][0] + 1) * 1_000_000_000 < now - TIMEWAIT_NS:
            self._waiting.popleft()
            self._seen = {netns: time for netns, time in self._seen.items() if time >= now - TIMEWAIT_NS}

    def report(self, now: int) -> EventSockets:
        """Return what is so at a time of the events' clock, in nanoseconds."""
        waiting = Counter[bytes]()
        for second, counts in self._waiting:
            if second * 1_000_000_000 >= now - TIMEWAIT_NS:
                waiting.update({place: n for place, n in counts.items() if _netns(place) not in self._listed_ns})
        in_use = Counter({place: n for place, n in self._open.items() if _netns(place) not in self._listed_ns})
        in_use.update({place: n for place, n in waiting.items() if not _row(place)["server"]})
        recent = {netns for netns, time in self._seen.items() if time >= now - TIMEWAIT_NS and netns not in self._listed_ns}
        ports, other = _uses(in_use)
        namespaces = sorted(recent | {_netns(place) for place in in_use})
        return EventSockets(tuple(namespaces), tuple(_largest(_summed(waiting, _service))), ports, other)


def _places(part: RecordColumns, *, server: bool) -> list[bytes]:
    """Return the place of each record."""
    found = np.zeros(len(part), _PLACE)
    found["netns"], found["server"] = part["netns"], server
    found["local"] = part["local_address"]
    found["remote"] = 0 if server else part["remote_address"]
    found["port"] = part["local_port" if server else "remote_port"]
    places: list[bytes] = found.view(f"V{_PLACE.itemsize}").tolist()
    return places


def _numbered(places: list[bytes], numbers: NDArray[np.uint64]) -> Tally:
    return [(place, number) for place, number in zip(places, numbers.tolist(), strict=True) if number]


def _tally(records: Transposed, index: Rows, *, server: bool = False) -> Tally:
    """Return the places of records, all of them a service's or all of them clients', and how often each is there."""
    if not len(index):
        return []
    part = Part(records, index)
    of, first = grouped(place_key(part, part.once(ends_key), server=server))
    return list(zip(_places(part.at(first), server=server), np.bincount(of).tolist(), strict=True))


def _count(counts: Counter[bytes], places: Tally, by: int) -> None:
    """Count places up or down, none below zero; beyond MAX_PLACES those of a namespace and side together."""
    for place, number in places:
        if place not in counts and len(counts) >= MAX_PLACES:
            place = place[:5] + bytes(_PLACE.itemsize - 5)  # noqa: PLW2901 - this is what it counts as
        counts[place] += by * number
        if counts[place] <= 0:
            del counts[place]


def _row(place: bytes) -> np.void:
    row: np.void = np.frombuffer(place, _PLACE)[0]
    return row


def _netns(place: bytes) -> int:
    return int.from_bytes(place[:4], "little" if np.little_endian else "big")


def _service(place: bytes) -> str:
    """Return the service's address:port, OTHER where there were too many to tell them apart."""
    row = _row(place)
    if not row["port"]:
        return OTHER
    address = address_text(row["local" if row["server"] else "remote"].tobytes(), _netns(place))
    return f"[{address}]:{row['port']}" if ":" in address else f"{address}:{row['port']}"


def _summed(counts: Counter[bytes], name: Callable[[bytes], str]) -> Counter[str]:
    summed = Counter[str]()
    for place, number in counts.items():
        summed[name(place)] += number
    return summed


def _largest(counts: Counter[str]) -> list[tuple[str, int]]:
    """Return the largest counts, of equal ones the first name; then OTHER for the rest, if there is one."""
    rest = counts.pop(OTHER, 0)
    ordered = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
    rest += sum(number for _, number in ordered[LARGEST:])
    return [*ordered[:LARGEST], *([(OTHER, rest)] if rest else [])]


def _uses(in_use: Counter[bytes]) -> tuple[tuple[PortUse, ...], int | None]:
    """Return the destinations with most ports in use, each from the address with most, and the most of any other.

    Of addresses with equally many it is the first.
    """
    most: dict[tuple[int, str], PortUse] = {}
    for place, number in sorted(in_use.items()):
        key = _netns(place), _service(place)
        if key not in most or most[key].used < number:
            local = address_text(_row(place)["local"].tobytes(), _netns(place))
            most[key] = PortUse(key[0], local, key[1], number, None, seen="events")
    ordered = sorted(most.values(), key=lambda use: (-use.used, use.destination, use.netns or 0))
    shown = [use for use in ordered if use.destination != OTHER][:LARGEST]
    rest = [use.used for use in ordered if use not in shown]
    return tuple(shown), max(rest, default=None)
