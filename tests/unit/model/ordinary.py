"""Random ordinary connections with all that records, counts and dumps tell of them, to compare what is made of these."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tests.unit.addresses import column
from tests.unit.model.builder import SECOND, events, reading
from tests.unit.model.dumps import OTHER_NETNS, OWN
from tracer.ingest.buckets import BOUNDS_NS
from tracer.ingest.counted import BUCKETS, PLACE, TIMED_STATES, Counted, Times
from tracer.ingest.decode import Events
from tracer.ingest.figures import FIGURES, OPEN, Figures
from tracer.ingest.snapshot import MARGIN_NS, Moment, OpenService, Snapshot
from tracer.ingest.source import Reading
from tracer.model.histogram import bucket_index
from tracer.model.openfigures import ends_key
from tracer.model.tcp import FLAG, ROLE, STATE

Numbers = NDArray[np.uint64]
Mask = NDArray[np.bool_]

LISTED, UNLISTED = (OWN, OTHER_NETNS), (4026533111, 4026533222)
PLACES = (
    (OWN, "client", "10.0.0.1", "192.0.2.1", 443),
    (OWN, "client", "10.0.0.1", "192.0.2.2", 443),
    (OWN, "client", "2001:db8::1", "2001:db8::2", 8443),
    (OWN, "server", "10.0.0.1", "::", 80),
    (OTHER_NETNS, "server", "10.1.0.1", "::", 80),
    (OTHER_NETNS, "client", "10.1.0.1", "192.0.2.1", 443),
    (UNLISTED[0], "client", "10.2.0.1", "192.0.2.1", 443),
    (UNLISTED[0], "server", "10.2.0.1", "::", 5432),
    (UNLISTED[1], "client", "10.3.0.1", "192.0.2.1", 443),
    (UNLISTED[1], "client", "2001:db8::3", "2001:db8::2", 8443),
)
PASSED = {
    "client": ("syn_sent", "established", "fin_wait1", "fin_wait2"),
    "server": ("syn_recv", "established", "close_wait", "last_ack"),
}
LENGTH_NS = 40 * SECOND
DUMPS = tuple(Moment(OWN, start, start + SECOND // 3) for start in range(SECOND // 10, LENGTH_NS, 7 * SECOND))
PAUSES = tuple((moment.start_ns - 2 * MARGIN_NS, moment.end_ns + 2 * MARGIN_NS) for moment in DUMPS)
"""When the kernel counts nothing: around dumps."""
LONGEST_NS = BOUNDS_NS[BUCKETS - 1]
"""What takes longer has no bucket in the kernel."""
ARRIVAL_NS = SECOND
"""How long a dump takes to arrive, after what was counted meanwhile."""


@dataclass(frozen=True)
class World:
    """n connections. place: in PLACES; begins, ends: their records. counted_begin, counted_end: which have none of these."""

    place: NDArray[np.intp]
    begins: Events
    ends: Events
    counted_begin: Mask
    counted_end: Mask

    def readings(self, *, counts: bool) -> Iterator[Reading]:
        """Yield what a source gives of them; counts: whether the kernel counts by itself, else there are records of all."""
        before, looked = 0, 0
        pauses = [start for start, _ in PAUSES]
        for now in range(SECOND // 2, LENGTH_NS, SECOND // 2):
            found = [pause for pause in pauses if looked < pause <= now]
            if not any(start < now <= end for start, end in PAUSES):
                found.append(now)
            looks = []
            for look in found if counts else ():
                looks.append(self._counted(looked, look))
                looked = look
            snapshot = next((each for each in reversed(self._snapshots) if each.time_ns + ARRIVAL_NS <= now), None)
            records = self._records(before, now, counts=counts)
            yield reading(records, time_ns=now, snapshot=snapshot, counted=tuple(looks))
            before = now

    @cached_property
    def _snapshots(self) -> list[Snapshot]:
        return list(map(self._snapshot, DUMPS))

    def _records(self, after: int, until: int, *, counts: bool) -> Events:
        parts = []
        for records, counted in ((self.begins, self.counted_begin), (self.ends, self.counted_end)):
            parts.append(records[_within(records, after, until) & ~(counted & counts)])
        records = np.concatenate(parts)
        return records[np.argsort(records["time_ns"], kind="stable")]

    def _counted(self, after: int, until: int) -> Counted:
        begun = np.flatnonzero(_within(self.begins, after, until) & self.counted_begin)
        ended = np.flatnonzero(_within(self.ends, after, until) & self.counted_end)
        measured = ended[self.ends["srtt_us"][ended] > 0]
        shown = np.flatnonzero(np.isin(np.arange(len(PLACES)), self.place[np.concatenate((begun, ended))]))
        at = np.searchsorted(shown, self.place)
        figures, time_waits = np.zeros((len(shown), len(FIGURES)), np.uint64), np.zeros(len(shown), np.uint64)
        np.add.at(figures, at[ended], figures_of(self.ends[ended]))
        np.add.at(time_waits, at[ended], (self.ends["flags"][ended] & FLAG["time_wait"] != 0).astype(np.uint64))
        which, state = np.nonzero(self.ends["visited"][ended, None] >> np.arange(TIMED_STATES) & 1)
        return Counted(
            time_ns=until,
            places=places()[shown],
            handshakes=times(at[begun], self.begins["handshake_ns"][begun], len(shown)),
            durations=times(at[ended], self.ends["duration_ns"][ended], len(shown)),
            srtt=times(at[measured], self.ends["srtt_us"][measured] * np.uint64(1000), len(shown)),
            time_waits=time_waits,
            figures=figures,
            states=times(state, self.ends["state_ns"][ended][which, state], TIMED_STATES),
        )

    def _snapshot(self, moment: Moment) -> Snapshot:
        middle = (moment.start_ns + moment.end_ns) // 2
        alive = np.flatnonzero(
            (self.begins["time_ns"] <= middle) & (self.ends["time_ns"] > middle) & np.isin(self.begins["netns"], LISTED)
        )
        found: dict[tuple[int, str, int], int] = {}
        for place in self.place[alive].tolist():
            netns, role, _, _, port = PLACES[place]
            found[netns, role, port] = found.get((netns, role, port), 0) + 1
        services = tuple(OpenService(*service, number) for service, number in found.items())
        figures = Figures(self._table(alive, middle), frozenset(LISTED), moment.start_ns, moment.end_ns)
        moments = tuple(moment._replace(netns=netns) for netns in LISTED)
        return Snapshot(time_ns=moment.end_ns, namespaces=LISTED, open=services, moments=moments, figures=figures)

    def _table(self, alive: NDArray[np.intp], now: int) -> NDArray[np.void]:
        begins, ends, table = self.begins[alive], self.ends[alive], np.zeros(len(alive), OPEN)
        for name in ("netns", "local_port", "remote_port", "remote_address", "role"):
            table[name] = begins[name]
        table["cookie"], table["key"], table["state"] = alive + 1, ends_key(begins), STATE["established"]
        age, life = now - begins["time_ns"], ends["time_ns"] - begins["time_ns"]
        table["figures"] = figures_of(ends) * age[:, None] // life[:, None]
        table["figures"][:, 0] += begins["role"] == ROLE["client"]
        table["queues"], table["rtt_us"] = (alive % 7)[:, None], alive % 1000
        return table


def places() -> NDArray[np.void]:
    """Return PLACES as the kernel has them."""
    found = np.zeros(len(PLACES), PLACE)
    for row, (netns, role, local, remote, port) in zip(found, PLACES, strict=True):
        row["netns"], row["role"], row["port"] = netns, ROLE[role], port
        row["local"], row["remote"] = column(local), column(remote)
    found["remote"][found["role"] == ROLE["server"]] = 0
    return found


def times(rows: NDArray[np.intp], ns: Numbers, height: int) -> Times:
    """Return times in nanoseconds, shape (n,), in so many rows, as the kernel counts them."""
    counts, (sums, most) = np.zeros((height, BUCKETS), np.uint64), np.zeros((2, height), np.uint64)
    np.add.at(counts, (rows, bucket_index(ns)), np.uint64(1))
    np.add.at(sums, rows, ns)
    np.maximum.at(most, rows, ns)
    return Times(counts, sums, most)


def figures_of(ends: Events) -> Numbers:
    """Return FIGURES of records of ends, shape (n, FIGURES)."""
    columns = (ends[name.replace("_us", "_ms")].astype(np.uint64) * (1000 if name.endswith("_us") else 1) for name in FIGURES)
    return np.stack(list(columns), axis=1).astype(np.uint64)


def world(seed: int, n: int = 3000) -> World:
    """Return random connections, some of them still open at the end, and a random choice of what the kernel counts of them."""
    random = np.random.default_rng(seed)
    place = random.integers(0, len(PLACES), n)
    begins = np.concatenate([_begin(*PLACES[each], random) for each in place])
    begins["connection"] = np.arange(1, n + 1)
    begins["time_ns"] = np.sort(random.integers(SECOND, LENGTH_NS, n))
    begins["handshake_ns"] = random.lognormal(11, 2, n).astype(np.uint64)
    ends = _ends(begins, place, random)
    counted_begin = (begins["handshake_ns"] <= LONGEST_NS) & ~_in_pause(begins, begins) & (random.random(n) < 0.8)
    counted_end = counted_begin & ~_in_pause(begins, ends) & (ends["from_state"] != STATE["established"])
    for ns in (ends["duration_ns"], ends["srtt_us"] * np.uint64(1000), ends["state_ns"].max(axis=1)):
        counted_end &= ns <= LONGEST_NS
    return World(place, begins, ends, counted_begin, counted_end & (random.random(n) < 0.8))


def _begin(netns: int, role: str, local: str, remote: str, port: int, random: np.random.Generator) -> Events:
    one = events("handshake", role=role, port=port, netns=netns, peer=remote, local_address=column(local))
    one["remote_port" if role == "server" else "local_port"] = random.integers(32768, 61000)
    if role == "server":
        one["remote_address"] = column(f"198.51.100.{random.integers(1, 255)}")
    return one


def _ends(begins: Events, place: NDArray[np.intp], random: np.random.Generator) -> Events:
    n = len(begins)
    ends = events("close", n, from_state="last_ack")
    for name in ("netns", "role", "connection", "local_address", "remote_address", "local_port", "remote_port"):
        ends[name] = begins[name]
    life = random.lognormal(20, 2, n).astype(np.uint64)
    ends["time_ns"] = begins["time_ns"] + life
    ends["duration_ns"] = life + begins["handshake_ns"]
    ends["srtt_us"] = random.integers(0, 3, n) * random.integers(1, 5000, n)
    for name in FIGURES:
        ends[name.replace("_us", "_ms")] = random.integers(0, 3, n) * random.integers(0, 5000, n)
    for role, states in PASSED.items():
        of = np.flatnonzero(begins["role"] == ROLE[role])
        for name in states:
            ends["visited"][of] |= np.uint16(1 << STATE[name])
            ends["state_ns"][of, STATE[name]] = random.lognormal(13, 3, len(of))
    ends["flags"] = np.where((begins["role"] == ROLE["client"]) & (random.random(n) < 0.9), FLAG["time_wait"], 0)
    reset = random.random(n) < 0.1
    ends["from_state"][reset], ends["flags"][reset] = STATE["established"], 0
    return ends


def _in_pause(begins: Events, ends: Events) -> Mask:
    """Return which connections lived, from one to the other, while the kernel counted nothing."""
    found = np.zeros(len(begins), bool)
    for start, end in PAUSES:
        found |= (begins["time_ns"] <= end) & (ends["time_ns"] >= max(start, 0))
    return found


def _within(records: Events, after: int, until: int) -> Mask:
    within: Mask = (records["time_ns"] > after) & (records["time_ns"] <= until)
    return within
