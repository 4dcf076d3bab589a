"""Connections that were open before the tracing began, found in the first dump of all sockets.

Their kernel addresses are not in a dump, so that they cannot be put into the connection table; they are counted by service
instead, and taken off when they close as partial ones. Those of a process or a cgroup alone cannot be told apart in a dump.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.snapshot import Dump
from tracer.ingest.sockdiag import TIMER_TIME_WAIT
from tracer.kernel.filters import Filters, network_of
from tracer.model.sockets import columns, ephemeral_ports, server_sides
from tracer.model.tcp import STATE

OPEN_STATES = tuple(STATE[name] for name in ("established", "fin_wait1", "fin_wait2", "close_wait", "last_ack", "closing"))

Service = tuple[str, int]
"""Role (client or server) and the service's port."""


def older_connections(dump: Dump, filters: Filters) -> dict[Service, int]:
    """Return how many connections are open, by service, of those that the filters let through; empty for a pid or a cgroup."""
    if filters.pid is not None or filters.cgroup is not None:
        return {}
    sockets = dump.sockets
    at = columns(sockets, {netns: place for place, netns in enumerate(dump.ports)})
    server = server_sides(sockets, at, ephemeral_ports(at, dump.ports))
    port = np.where(server, sockets["local_port"], sockets["remote_port"])
    # a timewait object waits for the other side's FIN in state FIN_WAIT2; its connection has ended
    chosen = np.isin(sockets["state"], OPEN_STATES) & (sockets["timer"] != TIMER_TIME_WAIT)
    if filters.ports:
        chosen &= np.isin(port, filters.ports)
    if filters.role:
        chosen &= server == (filters.role == "server")
    if filters.own_netns:
        chosen &= sockets["netns"] == next(iter(dump.ports), 0)
    if filters.addresses:
        chosen &= _in_networks(sockets["local_address"], filters) | _in_networks(sockets["remote_address"], filters)
    counts = np.bincount(server[chosen].astype(np.int64) << 16 | port[chosen])
    return {("server" if key >> 16 else "client", int(key & 0xFFFF)): int(counts[key]) for key in np.flatnonzero(counts)}


def _in_networks(addresses: NDArray[np.uint8], filters: Filters) -> NDArray[np.bool_]:
    """Return which addresses, shape (n, 16), are in one of the networks; shape (n,)."""
    found = np.zeros(len(addresses), bool)
    for network in map(network_of, filters.addresses):
        mask = np.frombuffer(network.netmask.packed, np.uint8)
        found |= ((addresses & mask) == np.frombuffer(network.network_address.packed, np.uint8)).all(axis=1)
    return found
