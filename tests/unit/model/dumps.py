"""Real dumps of sockets in a line or two, for tests of what is made of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tests.unit.addresses import column
from tracer.ingest.ports import EphemeralPorts
from tracer.ingest.snapshot import Dump, Moment
from tracer.ingest.sockdiag import SOCKET, Sockets, joined
from tracer.model.tcp import STATE

OWN, OTHER_NETNS = 4026531840, 4026532999
PORTS = EphemeralPorts(32768, 60999)
SECOND = 1_000_000_000


def sockets(
    state: str,
    local: str = "10.0.0.1:40000",
    remote: str = "192.0.2.1:443",
    n: int = 1,
    *,
    netns: int = OWN,
    spread: bool = True,
    **columns: int,
) -> Sockets:
    """Return n sockets; spread: local ports count up, so that they are different connections. TIME_WAIT has its timer."""
    batch = np.zeros(n, SOCKET)
    batch["state"], batch["netns"], batch["inode"] = STATE[state], netns, 1000
    if state == "time_wait":
        batch["timer"], batch["inode"] = 3, 0
    for side, text in (("local", local), ("remote", remote)):
        address, _, port = text.rpartition(":")
        batch[f"{side}_address"] = column(address.strip("[]"))
        batch[f"{side}_port"] = int(port)
    if spread:
        batch["local_port"] = batch["local_port"] + np.arange(n)
    for name, value in columns.items():
        batch[name] = value
    return batch


def dump(*parts: Sockets, ports: Mapping[int, EphemeralPorts] | None = None, end_ns: int = SECOND) -> Dump:
    """Return a dump of all of them that took a millisecond."""
    namespaces, start_ns = ports or {OWN: PORTS}, end_ns - 1_000_000
    moments = tuple(Moment(netns, start_ns, end_ns) for netns in namespaces)
    return Dump(joined(parts), namespaces, start_ns, end_ns, moments)
