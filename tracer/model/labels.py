"""Label sets: which series each record of a batch belongs to, and which sets have one of their own.

A set is earned: by a handshake, a listener, or traffic of a connection that is open. What fails to, is retransmitted to, or is
reset by a port that never had any of that is counted in the set of its role whose other labels are `other`, so that a scan of
all ports takes nobody's place. When there are MAX_SETS, the smallest and stalest leave for new ones (tenure.py), and those that
were idle for long leave anyhow. What leaves is added to the `other` of its role: no sum falls. One that comes back begins anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.sets import is_in
from tracer.ingest.snapshot import Listening
from tracer.ingest.transposed import RecordColumns
from tracer.ingest.workloads import Workload
from tracer.model.labelnames import BASE, CGROUP_LABELS, PEER_LABELS, optional_names
from tracer.model.naming import OTHER, Naming
from tracer.model.services import PORT, ROLE_AND_PORT, Codes, service_codes
from tracer.model.tcp import KIND, RETRANSMIT_KINDS, ROLE, ROLES, STATE
from tracer.model.tenure import Tenure

OTHER_ROW = 0
"""The row whose every label is `other`; nothing is counted there."""

FIRST_ROLE = 1
FIXED = FIRST_ROLE + len(ROLES)
"""Rows that always are there: OTHER_ROW, and after it one for each role, by its number, whose other labels are `other`."""

MAX_SETS = 2048 - FIXED
MAX_KEYS = 1 << 16
"""Keys that are remembered, of which several can mean one set; beyond it all are learnt anew."""

NEW_AT_ONCE = 512
"""New sets of one batch, each of which costs a Python call; the records of more are counted as `other`, and as overflowed."""

Keys = NDArray[np.uint64]
Rows = NDArray[np.intp]
Fold = Callable[[Rows, Rows], None]
"""Called with rows that leave, and the rows to which their counts are to be added."""


class LabelSets:
    """Label sets in use, by the numbers of their rows; those below FIXED are `other`.

    names: labels that --label added, of OPTIONAL. given: ports that were asked for by number, which need not earn a set.
    fold: moves the counts of sets that leave. held: tells which rows must not leave for being idle, shape (rows,).
    overflowed: records that were counted as `other` for want of room.
    """

    def __init__(
        self,
        names: Sequence[str] = (),
        naming: Naming | None = None,
        *,
        limit: int = MAX_SETS,
        given: Collection[int] = (),
        fold: Fold = lambda _rows, _onto: None,
        held: Callable[[int], NDArray[np.bool_]] = lambda rows: np.zeros(rows, bool),
    ) -> None:
        self.names = BASE + optional_names(names)
        others = (OTHER,) * (len(self.names) - 1)
        self.sets: list[tuple[str, ...]] = [(OTHER, *others), *((role, *others) for role in ROLES)]
        self.overflowed = 0
        self.tenure = Tenure(FIXED, FIXED + max(limit, 1))
        self._naming = naming or Naming()
        self._given = np.array(sorted(given), np.uint16)
        self._fold, self._held = fold, held
        self._now_ns = 0
        self._without_key: set[int] = set()
        self._workloads: dict[str, Workload] = {}
        self._rows: dict[tuple[str, ...], int] = {}
        self._service_places = [place for place, name in enumerate(self.names) if name in {*BASE, "netns"}]
        self._by_service: dict[tuple[str, ...], set[int]] = defaultdict(set)
        # Sorted, so that a batch is looked up with one searchsorted; more than one key can lead to the same row.
        self._keys = np.empty(0, np.uint64)
        self._key_rows = np.empty(0, np.intp)

    def __len__(self) -> int:
        return len(self.sets)

    def rows(
        self,
        events: RecordColumns,
        now_ns: int = 0,
        *,
        noted: bool = True,
        numbers: NDArray[np.uint64] | None = None,
        services: Codes | None = None,
    ) -> Rows:
        """Return the row of each record's label set, shape (n,); new sets that are earned are taken in.

        noted: whether they count among the records of the sets. numbers: how many each stands for, one if not given.
        services: as of service_codes(), where they are known.
        """
        self._now_ns = now_ns
        services = service_codes(events) if services is None else services
        keys = self._pack(events, services)
        rows = self.find(keys)
        if np.count_nonzero(rows < 0):
            port = (services & PORT).astype(np.uint16)
            earned = (rows < 0) & self._earns(events, port)
            if earned.any():
                self._admit(keys, np.flatnonzero(earned), events, port, numbers)
                rows = self.find(keys)
                missed = np.flatnonzero(earned & (rows < 0))
                self.overflowed += len(missed) if numbers is None else int(numbers[missed].sum())
            if self._without_key and self._find(keys, np.flatnonzero((rows < 0) & ~earned), events, port):
                rows = self.find(keys)
            rows = np.where(rows < 0, FIRST_ROLE + np.minimum(events["role"], len(ROLES) - 1), rows)
        if noted:
            self.tenure.note(rows, now_ns, numbers)
        return rows

    def keys(self, events: RecordColumns) -> Keys:
        """Return what find() takes, shape (n,)."""
        return self._pack(events, service_codes(events))

    def telling(self, events: RecordColumns) -> list[NDArray[np.uint64]]:
        """Return what tells label sets apart beside role, port and namespace, columns of shape (n,)."""
        names = [name for name in self.names[len(BASE) :] if name != "netns"]
        return [column for name in names for column in self._naming.columns(name, events)]

    def find(self, keys: Keys) -> Rows:
        """Return the rows of the label sets of these keys, shape (n,), -1 for those that have none."""
        if not len(self._keys):
            return np.full(len(keys), -1, np.intp)
        found = self._keys.searchsorted(keys)
        return np.where(self._keys.take(found, mode="clip") == keys, self._key_rows.take(found, mode="clip"), -1)

    def expire(self, before_ns: int) -> None:
        """Have all sets leave that had no record since then, and no connection is open."""
        self._leave(self.tenure.idle(before_ns, self._held(len(self.sets))))

    def service_row(self, netns: int, role: str, port: int) -> int:
        """Return the number of the label set that says only this; a new one is taken in."""
        return self._row_without_key(self._of_service(netns, role, port))

    def listener_rows(self, listener: Listening, *, admit: bool) -> list[int]:
        """Return the label sets that a listener keeps; admit: whether its own is taken in where there is no room for it.

        With a label of which a listener does not tell (who serves) it keeps what its service has, and none of peers.
        """
        if not PEER_LABELS.isdisjoint(self.names):
            return []
        untold = "process" in self.names or not (listener.cgroup or CGROUP_LABELS.isdisjoint(self.names))
        if untold:
            return list(self._by_service.get(self._service(self._of_service(listener.netns, "server", listener.port)), ()))
        workload = self._naming.container(listener.cgroup) if listener.cgroup else None
        wanted = self._of_service(listener.netns, "server", listener.port, workload)
        if wanted in self._rows:
            return [self._rows[wanted]]
        return [self._row_without_key(wanted, workload)] if admit or self.tenure.room else []

    def service_rows(self, netns: int, role: str, port: int) -> list[int]:
        """Return the label sets of a service, that which says only this first, and the `other` of its role last."""
        wanted = self._of_service(netns, role, port)
        found = self._by_service.get(self._service(wanted), ())
        return [*sorted(found, key=lambda row: self.sets[row] != wanted), FIRST_ROLE + ROLE[role]]

    def services_of(self, rows: Rows) -> Iterator[list[int]]:
        """Yield the label sets of each service that these belong to, the first of these first, the `other` of its role last."""
        first: dict[tuple[str, ...], int] = {}
        for row in np.flatnonzero(np.bincount(rows)).tolist():
            if row >= FIXED:
                first.setdefault(self._service(self.sets[row]), row)
        for service, row in first.items():
            yield [row, *(self._by_service[service] - {row}), FIRST_ROLE + ROLE[self.sets[row][0]]]

    def workloads(self) -> tuple[Workload, ...]:
        """Return whose the label sets are, each once; none without the label `container`."""
        if "container" not in self.names:
            return ()
        at = self.names.index("container")
        names = dict.fromkeys(values[at] for values in self.sets if values)
        self._workloads = {name: self._workloads[name] for name in names if name and name in self._workloads}
        return tuple(self._workloads.values())

    def _service(self, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(values[place] for place in self._service_places)

    def _of_service(self, netns: int, role: str, port: int, workload: Workload | None = None) -> tuple[str, ...]:
        return (role, str(port), *(self._naming.of_place(name, netns, workload) for name in self.names[len(BASE) :]))

    def _row_without_key(self, values: tuple[str, ...], workload: Workload | None = None) -> int:
        """Return the row of a set that no record has earned; a new one is taken in, and found by its records' keys later."""
        if values not in self._rows:
            if workload and "container" in self.names:
                self._workloads[workload.name] = workload
            self._without_key.add(ROLE[values[0]] << 16 | int(values[1]))
        return self._row_of(values)

    def _find(self, keys: Keys, unknown: Rows, events: RecordColumns, port: NDArray[np.uint16]) -> bool:
        """Learn the keys of records that earn nothing, of sets that are there already; return whether there are any."""
        codes = events["role"][unknown].astype(np.int64) << 16 | port[unknown]
        unknown = unknown[is_in(codes, list(self._without_key))]
        unique, first = np.unique(keys[unknown], return_index=True)
        values = [self._values(events[at], int(port[at])) for at in unknown[first[:NEW_AT_ONCE]]]
        rows = np.array([self._rows.get(each, -1) for each in values], np.intp)
        self._learn(unique[:NEW_AT_ONCE][rows >= 0], rows[rows >= 0])
        return bool((rows >= 0).any())

    def _earns(self, events: RecordColumns, port: NDArray[np.uint16]) -> NDArray[np.bool_]:
        """Return which records, shape (n,), earn a set of their own."""
        kind, open_ = events["kind"], _OPEN[events["from_state"]]
        data = (kind == KIND["retransmit"]) & ~is_in(events["retransmit_kind"], OPENING)
        reset = (kind == KIND["reset"]) & (events["connection"] != 0) & open_
        earns: NDArray[np.bool_] = is_in(kind, _EARN) | data | reset
        if PEER_LABELS.isdisjoint(self.names):  # what answers a SYN is a listener, but who sent it need not exist
            earns |= (events["role"] == ROLE["server"]) & is_in(kind, (KIND["failure"], KIND["retransmit"]))
        return earns | is_in(port, self._given) if len(self._given) else earns

    def _admit(
        self, keys: Keys, new: Rows, events: RecordColumns, port: NDArray[np.uint16], numbers: NDArray[np.uint64] | None
    ) -> None:
        """Take in the new label sets of these records, those with most of them first."""
        unique, first, which = np.unique(keys[new], return_index=True, return_inverse=True)
        counts = np.bincount(which, None if numbers is None else numbers[new])
        # those that were there before must not all give way at once
        most = min(NEW_AT_ONCE, max(self.tenure.room, (self.tenure.limit - FIXED) // 4, 1))
        order = np.argsort(-counts, kind="stable")[:most]
        self._make_room(len(order))
        found = [self._row_of(self._values(events[at], int(port[at]))) for at in new[first[order]]]
        self._learn(unique[order], np.array(found, np.intp))

    def _make_room(self, wanted: int) -> None:
        missing = wanted - self.tenure.room
        if missing > 0:
            leaving = self.tenure.lightest(missing, self._now_ns, self._held(len(self.sets)))
            self.overflowed += int(self.tenure.records[leaving].sum())
            self._leave(leaving)

    def _row_of(self, values: tuple[str, ...]) -> int:
        row = self._rows.get(values)
        if row is None:
            self._make_room(1)
            row = self._rows[values] = self.tenure.take(self._now_ns)
            self.sets += [()] * (row + 1 - len(self.sets))
            self.sets[row] = values
            self._by_service[self._service(values)].add(row)
        return row

    def _leave(self, rows: Rows) -> None:
        """Have sets leave, and their counts go to the `other` of their role."""
        if not len(rows):
            return
        self._fold(rows, np.array([FIRST_ROLE + ROLE[self.sets[row][0]] for row in rows], np.intp))
        for row in rows.tolist():
            values, self.sets[row] = self.sets[row], ()
            del self._rows[values]
            beside = self._by_service[self._service(values)]
            beside.discard(row)
            if not beside:
                del self._by_service[self._service(values)]
        kept = ~is_in(self._key_rows, rows)
        self._keys, self._key_rows = self._keys[kept], self._key_rows[kept]
        self.tenure.give_back(rows)

    def _learn(self, keys: Keys, rows: Rows) -> None:
        if len(self._keys) + len(keys) > MAX_KEYS:
            self._keys, self._key_rows = np.empty(0, np.uint64), np.empty(0, np.intp)
        together = np.concatenate([self._keys, keys])
        order = np.argsort(together)
        self._keys, self._key_rows = together[order], np.concatenate([self._key_rows, rows])[order]

    def _pack(self, events: RecordColumns, services: Codes) -> Keys:
        """Return one number per label set: exact for role and port alone, mixed to 64 bits with more labels."""
        keys: Keys = (services & ROLE_AND_PORT).view(np.uint64)
        for name in self.names[len(BASE) :]:
            for column in self._naming.columns(name, events):
                keys = mix(keys, column)
        return keys

    def _values(self, event: np.void, port: int) -> tuple[str, ...]:
        if "container" in self.names:
            workload = self._naming.container(int(event["cgroup"]))
            self._workloads[workload.name] = workload
        role = ROLES[event["role"]] if event["role"] < len(ROLES) else ROLES[0]
        return (role, str(port), *(self._naming.value(name, event) for name in self.names[len(BASE) :]))


_EARN = (KIND["handshake"], KIND["close"], KIND["state"])
OPENING = (RETRANSMIT_KINDS.index("syn"), RETRANSMIT_KINDS.index("syn_ack"))
_OPEN = np.ones(256, bool)
_OPEN[[STATE[name] for name in ("close", "listen", "syn_sent", "syn_recv", "new_syn_recv") if name in STATE]] = False
_OPEN[0] = False


def mix(keys: Keys, column: NDArray[np.uint64]) -> Keys:
    """Return keys that depend on both: the finalizer of MurmurHash3 over their sum, times an odd constant."""
    mixed = (keys * np.uint64(0x9E3779B97F4A7C15)) ^ column
    mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return mixed ^ (mixed >> np.uint64(33))
