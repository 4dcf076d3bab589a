"""The values of labels: where they come from, and what tells them apart in a batch without a look at each record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.interfaces import interface_text, split_address
from tracer.ingest.names import name_text
from tracer.ingest.transposed import RecordColumns, words_of
from tracer.ingest.workloads import Workload
from tracer.model.labelnames import CGROUP_LABELS
from tracer.model.peers import PeerGroups

OTHER = "other"


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

    def columns(self, name: str, events: RecordColumns) -> Sequence[NDArray[np.uint64]]:
        """Return what tells the values of a label apart, columns of shape (n,)."""
        if name in CGROUP_LABELS:
            return [events["cgroup"]]
        if name == "netns":
            return [events["netns"].astype(np.uint64)]
        if name == "peer_group":
            return self.peers.columns(events["remote_address"])
        return list(words_of(events, "remote_address" if name == "peer" else "process"))

    def value(self, name: str, event: np.void) -> str:
        """Return the value of a label for a record."""
        if name == "peer":
            return address_text(event["remote_address"].tobytes(), int(event["netns"]))
        if name == "peer_group":
            return self.peers.name(event["remote_address"].tobytes())
        if name == "process":
            return name_text(event["process"])
        return self.of_place(name, int(event["netns"]), self.container(int(event["cgroup"])))

    def of_place(self, name: str, netns: int, workload: Workload | None) -> str:
        """Return the value of netns, workload or container, by what is known of where a socket is; "" for what is not."""
        if name == "netns":
            return self.netns(netns, workload)
        if workload is None or name not in CGROUP_LABELS:
            return ""
        return workload.name if name == "container" else workload.pod_uid or workload.name


def address_text(address: bytes, netns: int = 0) -> str:
    """Return 16 bytes of an address as text, IPv4 in dotted form, link-local ones with their interface in that namespace."""
    plain, interface = split_address(address)
    parsed = IPv6Address(plain)
    text = str(parsed.ipv4_mapped or parsed)
    return f"{text}%{interface_text(netns, interface)}" if interface else text
