"""Label sets: which series each record of a batch belongs to, and the bound on how many there can be.

How --max-series relates to label sets: a label set (one role and port, say) shows as at most SAMPLES_PER_SET samples, so that
many are set aside for each, and max_series // SAMPLES_PER_SET sets are told apart (40 with the default of 5,000). A bound that
counted samples as they appear would admit thousands of quiet sets, a port scan for instance, that can all grow later.
Past the bound a new set's records go to the one set whose every label is `other`. Nothing ever leaves: counters must not fall.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tracer.errors import UsageError
from tracer.ingest.decode import Events
from tracer.ingest.names import name_text
from tracer.ingest.workloads import Workload
from tracer.model.histogram import CLASSIC_BOUNDS
from tracer.model.peers import PeerGroups
from tracer.model.tcp import CLOSE_REASONS, FAILURE_REASONS, RETRANSMIT_KINDS, ROLE, ROLES

BASE = ("role", "port")
OPTIONAL = ("peer", "peer_group", "process", "workload", "container", "netns")
OTHER = "other"
OTHER_ROW = 0

HISTOGRAMS_PER_SET = 3
_HISTOGRAM = len(CLASSIC_BOUNDS) + 3  # +Inf, _sum and _count
_COUNTERS = len(FAILURE_REASONS) + len(CLOSE_REASONS) + len(RETRANSMIT_KINDS) - 1 + 2  # and payload in both directions
_PLAIN = 4  # handshakes, connections, TIME_WAIT entries, resets received
_RESETS = 6  # reasons of resets sent: a service shows one or two
SAMPLES_PER_SET = HISTOGRAMS_PER_SET * _HISTOGRAM + _COUNTERS + _PLAIN + _RESETS

TRIES_WHEN_FULL = 64
MAX_KEYS = 1 << 16
"""Keys that are remembered, refused ones too, so that they are refused at no cost; beyond it all new ones are."""

Keys = NDArray[np.uint64]


def optional_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the labels that --label may add, as far as they are named, in their fixed order; raises UsageError for others.

    names: of one label each, or of several with commas between.
    """
    names = [name for several in names for name in several.split(",")]
    if unknown := [name for name in names if name not in OPTIONAL]:
        raise UsageError(f"there is no label {unknown[0]}", f"choose from {', '.join(OPTIONAL)}")
    return tuple(name for name in OPTIONAL if name in names)


def numbered(cgroup: int) -> Workload:
    """Return what is known of a cgroup without its path."""
    return Workload(str(cgroup))


def unnamed(netns: int, _workload: Workload | None = None) -> str:
    """Return what a network namespace is called without a name."""
    return str(netns)


@dataclass(frozen=True)
class Naming:
    """Where the values of labels come from: whose a cgroup is, by its id; the name of a network namespace; groups of peers."""

    container: Callable[[int], Workload] = numbered
    netns: Callable[[int, Workload | None], str] = unnamed
    peers: PeerGroups = field(default_factory=PeerGroups)


class LabelSets:
    """Label sets in use, numbered from 1; number 0 is `other`.

    names: labels that --label added, of OPTIONAL.
    """

    def __init__(self, names: Sequence[str] = (), max_series: int = 5000, naming: Naming | None = None) -> None:
        self.names = BASE + optional_names(names)
        self.sets: list[tuple[str, ...]] = [(OTHER,) * len(self.names)]
        self.overflowed = 0
        self._limit = max(1, max_series // SAMPLES_PER_SET)
        self._naming = naming or Naming()
        self._workloads: dict[str, Workload] = {}
        self._rows = {self.sets[0]: OTHER_ROW}
        # Sorted, so that a batch is looked up with one searchsorted; more than one key can lead to the same row.
        self._keys = np.empty(0, np.uint64)
        self._key_rows = np.empty(0, np.intp)

    def __len__(self) -> int:
        return len(self.sets)

    def rows(self, events: Events) -> NDArray[np.intp]:
        """Return the number of each record's label set, shape (n,); new sets are taken in, or counted as overflowed."""
        port = service_ports(events)
        keys = self._pack(events, port)
        rows = self._look_up(keys)
        if (rows < 0).any():
            self._admit(keys, rows, events, port)
            rows = self._look_up(keys).clip(min=OTHER_ROW)
        self.overflowed += int(np.count_nonzero(rows == OTHER_ROW))
        return rows

    def service_row(self, netns: int, role: str, port: int) -> int:
        """Return the number of the label set that says only this; a new one is taken in while there is room."""
        return self._row_of(self._of_service(netns, role, port))

    def service_rows(self, netns: int, role: str, port: int) -> list[int]:
        """Return the label sets of a service, that which says only this first; just OTHER_ROW when it has none."""
        wanted = self._of_service(netns, role, port)
        fixed = [place for place, name in enumerate(self.names) if name in {*BASE, "netns"}]
        found = [row for row, values in enumerate(self.sets) if all(values[place] == wanted[place] for place in fixed)]
        return sorted(found, key=lambda row: self.sets[row] != wanted) or [OTHER_ROW]

    def rows_beside(self, row: int) -> list[int]:
        """Return the label sets of the same service as this one, and it as the first."""
        fixed = [place for place, name in enumerate(self.names) if name in {*BASE, "netns"}]
        beside = [at for at, have in enumerate(self.sets) if all(have[i] == self.sets[row][i] for i in fixed) and at != row]
        return [row, *beside]

    def _of_service(self, netns: int, role: str, port: int) -> tuple[str, ...]:
        known = {"netns": self._naming.netns(netns, None)} if "netns" in self.names else {}
        return (role, str(port), *(known.get(name, "") for name in self.names[len(BASE) :]))

    def role_row(self, role: str) -> int:
        """Return the number of the label set that says only the role, with `other` for all else; always taken in."""
        values = (role, *(OTHER for _ in self.names[1:]))
        if values not in self._rows:
            self._rows[values] = len(self.sets)
            self.sets.append(values)
            self._limit += 1  # it is nobody's place
        return self._rows[values]

    def workloads(self) -> tuple[Workload, ...]:
        """Return whose the label sets are, each once; none without the label `container`."""
        if "container" not in self.names:
            return ()
        at = self.names.index("container")
        names = dict.fromkeys(values[at] for values in self.sets)
        return tuple(self._workloads[name] for name in names if name and name in self._workloads)

    def _look_up(self, keys: Keys) -> NDArray[np.intp]:
        """Return the row of each key, OTHER_ROW for those refused before, -1 for those never seen."""
        if not len(self._keys):
            return np.full(len(keys), -1, np.intp)
        found = np.searchsorted(self._keys, keys).clip(max=len(self._keys) - 1)
        return np.where(self._keys[found] == keys, self._key_rows[found], -1)

    def _admit(self, keys: Keys, rows: NDArray[np.intp], events: Events, port: NDArray[np.uint16]) -> None:
        """Number the new label sets, those with most records first, as far as the limit allows; refuse the others."""
        room = MAX_KEYS - len(self._keys)
        if room <= 0:
            return
        new = np.flatnonzero(rows < 0)
        unique, first, counts = np.unique(keys[new], return_index=True, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:room]
        # A scan of all ports must not cost a Python call for each; some more than fit, as two keys can mean one set.
        tried = new[first[order]][: self._limit + 1 - len(self.sets) + TRIES_WHEN_FULL]
        found = np.full(len(order), OTHER_ROW, np.intp)
        found[: len(tried)] = [self._row_of(self._values(events[at], int(port[at]))) for at in tried]
        self._learn(unique[order], found)

    def _row_of(self, values: tuple[str, ...]) -> int:
        row = self._rows.get(values, OTHER_ROW)
        if row == OTHER_ROW and len(self.sets) <= self._limit:
            row = self._rows[values] = len(self.sets)
            self.sets.append(values)
        return row

    def _learn(self, keys: Keys, rows: NDArray[np.intp]) -> None:
        together = np.concatenate([self._keys, keys])
        order = np.argsort(together)
        self._keys, self._key_rows = together[order], np.concatenate([self._key_rows, rows])[order]

    def _pack(self, events: Events, port: NDArray[np.uint16]) -> Keys:
        """Return one number per label set: exact for role and port alone, mixed to 64 bits with more labels."""
        keys = events["role"].astype(np.uint64) << np.uint64(16) | port
        for name in self.names[len(BASE) :]:
            for column in self._columns(name, events):
                keys = _mix(keys, column)
        return keys

    def _columns(self, name: str, events: Events) -> Sequence[NDArray[np.uint64]]:
        """Return what tells the values of a label apart."""
        if name in {"workload", "container"}:
            return [events["cgroup"]]
        if name == "netns":
            return [events["netns"].astype(np.uint64)]
        if name == "peer_group":
            return self._naming.peers.columns(events["remote_address"])
        halves = np.ascontiguousarray(events["remote_address" if name == "peer" else "process"]).view(np.uint64).reshape(-1, 2)
        return [halves[:, 0], halves[:, 1]]

    def _workload(self, cgroup: int) -> Workload:
        found = self._naming.container(cgroup)
        if "container" in self.names:
            self._workloads[found.name] = found
        return found

    def _values(self, event: np.void, port: int) -> tuple[str, ...]:
        return (
            ROLES[event["role"]] if event["role"] < len(ROLES) else ROLES[0],
            str(port),
            *(self._value(name, event) for name in self.names[len(BASE) :]),
        )

    def _value(self, name: str, event: np.void) -> str:
        if name == "peer":
            return address_text(event["remote_address"].tobytes())
        if name == "peer_group":
            return self._naming.peers.name(event["remote_address"].tobytes())
        if name == "process":
            return name_text(event["process"])
        workload = self._workload(int(event["cgroup"]))
        if name == "netns":
            return self._naming.netns(int(event["netns"]), workload)
        return workload.name if name == "container" else workload.pod_uid or workload.name


class Columns(Protocol):
    """Records by their columns: a batch, or a part of one."""

    def __getitem__(self, name: str, /) -> NDArray[Any]:
        """Return a column, shape (n,) or (n, elements)."""


def service_ports(events: Columns) -> NDArray[np.uint16]:
    """Return each record's service port, shape (n,): the local one of a server, the remote one of a client.

    Where the role is not known (the socket is older than the tracer) it is the lower of the two, as ephemeral ports are high; a
    port of 0 is no port.
    """
    role, local, remote = events["role"], events["local_port"], events["remote_port"]
    lower = np.where((local != 0) & ((local < remote) | (remote == 0)), local, remote)
    ports: NDArray[np.uint16] = np.where(role == ROLE["server"], local, np.where(role == ROLE["client"], remote, lower))
    return ports


def address_text(address: bytes) -> str:
    """Return 16 bytes of an address as text, IPv4 in dotted form."""
    parsed = IPv6Address(address)
    return str(parsed.ipv4_mapped or parsed)


def _mix(keys: Keys, column: NDArray[np.uint64]) -> Keys:
    """Return keys that depend on both: the finalizer of MurmurHash3 over their sum, times an odd constant."""
    mixed = (keys * np.uint64(0x9E3779B97F4A7C15)) ^ column
    mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return mixed ^ (mixed >> np.uint64(33))
