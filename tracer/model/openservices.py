"""Connections that are open at a dump of all sockets, and listeners, by network namespace and service.

A dump does not know which process or cgroup a connection belongs to, so that it cannot say this of those alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.interfaces import is_link_local
from tracer.ingest.sets import is_in
from tracer.ingest.snapshot import Dump, Listening, ListenQueue, OpenService
from tracer.ingest.sockdiag import TIMER_TIME_WAIT, Sockets
from tracer.kernel.filters import Filters, network_of
from tracer.model.columns import Mask
from tracer.model.tcp import STATE

OPEN_STATES = tuple(STATE[name] for name in ("established", "fin_wait1", "fin_wait2", "close_wait", "last_ack", "closing"))


def open_services(dump: Dump, server: Mask, filters: Filters) -> tuple[OpenService, ...] | None:
    """Return how many of the connections that the filters let through are open; None with a filter for a pid or a cgroup.

    server: which sockets are the service's side, shape (n,).
    """
    if filters.pid is not None or filters.cgroup is not None:
        return None
    sockets = dump.sockets
    chosen = chosen_connections(sockets, server, filters, dump.own_netns)
    port = np.where(server, sockets["local_port"], sockets["remote_port"])
    keys = np.sort(sockets["netns"][chosen].astype(np.int64) << 17 | server[chosen].astype(np.int64) << 16 | port[chosen])
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    counts = np.diff(starts, append=len(keys))
    return tuple(
        OpenService(key >> 17, "server" if key >> 16 & 1 else "client", key & 0xFFFF, count)
        for key, count in zip(keys[starts].tolist(), counts.tolist(), strict=True)
    )


def chosen_connections(sockets: Sockets, server: Mask, filters: Filters, own_netns: int) -> Mask:
    """Return which sockets are open connections that the filters let through, but for those for a pid or a cgroup; (n,)."""
    port = np.where(server, sockets["local_port"], sockets["remote_port"])
    # a timewait object waits for the other side's FIN in state FIN_WAIT2; its connection has ended
    chosen: Mask = is_in(sockets["state"], OPEN_STATES) & (sockets["timer"] != TIMER_TIME_WAIT)
    if filters.ports:
        chosen &= is_in(port, filters.ports)
    if filters.role:
        chosen &= server == (filters.role == "server")
    if filters.own_netns:
        chosen &= sockets["netns"] == own_netns
    if filters.addresses:
        chosen &= _in_networks(sockets["local_address"], filters) | _in_networks(sockets["remote_address"], filters)
    return chosen


def listening_services(dump: Dump, filters: Filters) -> tuple[Listening, ...]:
    """Return the services that somebody listens for and that the filters let through; none with a filter for a pid or a cgroup.

    A listener on all addresses is of no network.
    """
    listeners = dump.sockets[_chosen_listeners(dump, filters)]
    rows = zip(*(listeners[name].tolist() for name in ("netns", "local_port", "inode")), strict=True)
    return tuple(sorted({Listening(netns, port, dump.cgroups.get(inode, 0)) for netns, port, inode in rows}))


def listen_queues(dump: Dump, filters: Filters) -> tuple[ListenQueue, ...]:
    """Return the sockets of the same listeners."""
    places = _chosen_listeners(dump, filters)
    at = np.searchsorted(dump.details["place"], places)
    known = at < len(dump.details)
    known[known] = dump.details["place"][at[known]] == places[known]
    drops = np.full(len(places), -1)
    drops[known] = dump.details["drops"][at[known]]
    names = ("netns", "local_port", "cookie", "rqueue", "wqueue")
    columns = (*(dump.sockets[name][places].tolist() for name in names), drops.tolist())
    return tuple(
        ListenQueue(netns, port, cookie, waiting, limit, None if dropped < 0 else dropped)
        for netns, port, cookie, waiting, limit, dropped in zip(*columns, strict=True)
    )


def _chosen_listeners(dump: Dump, filters: Filters) -> NDArray[np.intp]:
    """Return the places of the listeners that the filters let through; none with a filter for a pid or a cgroup."""
    if filters.pid is not None or filters.cgroup is not None or filters.role == "client":
        return np.empty(0, np.intp)
    places = np.flatnonzero(dump.sockets["state"] == STATE["listen"])
    listeners = dump.sockets[places]
    chosen = np.ones(len(places), bool)
    if filters.own_netns:
        chosen &= listeners["netns"] == dump.own_netns
    if filters.ports:
        chosen &= is_in(listeners["local_port"], filters.ports)
    if filters.addresses:
        chosen &= _in_networks(listeners["local_address"], filters)
    return places[chosen]


def _in_networks(addresses: NDArray[np.uint8], filters: Filters) -> NDArray[np.bool_]:
    """Return which addresses, shape (n, 16), are in one of the networks; shape (n,)."""
    found = np.zeros(len(addresses), bool)
    local = is_link_local(addresses)
    if local.any():
        addresses = addresses.copy()
        addresses[local, 4:8] = 0  # the interface
    for network in map(network_of, filters.addresses):
        mask = np.frombuffer(network.netmask.packed, np.uint8)
        found |= ((addresses & mask) == np.frombuffer(network.network_address.packed, np.uint8)).all(axis=1)
    return found
