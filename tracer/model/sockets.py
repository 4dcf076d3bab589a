"""What a dump of all sockets says: sums by state and destination, and how long the ephemeral ports will last.

Theory of operation. Which side of a connection is the service's, sides.py decides. The destination is the service's
address:port: the remote one of a client, the local one of a server. So on loopback both sides have the same one.

A connect() needs a local port that is not in use from its address to that destination; a port in TIME_WAIT is in use. Only
with net.ipv4.tcp_tw_reuse (1; 2, the default, on loopback alone) can a connect() take over one that has been in TIME_WAIT for
a second, so that what counts as used here is not always lost. SO_REUSEADDR changes nothing for it. A bind() before the
connect() without IP_BIND_ADDRESS_NO_PORT takes a port away from all destinations: see held.py. And of an odd number
of ports the kernel tries all but one, so that the last one may stay free while connect() fails (__inet_hash_connect).
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.bound import BoundPorts
from tracer.ingest.served import ServedPorts, codes_of
from tracer.ingest.sets import is_in, unique
from tracer.ingest.snapshot import Dump, PortUse, Snapshot
from tracer.ingest.sockdiag import TIMER_TIME_WAIT
from tracer.kernel.filters import Filters
from tracer.model.columns import ADDRESS, ADDRESS_BITS, PORT_BITS, Columns, Keys, Mask, columns, key
from tracer.model.held import held_ports
from tracer.model.naming import OTHER
from tracer.model.openfigures import Looks, open_figures
from tracer.model.openservices import listen_queues, listening_services, open_services
from tracer.model.sides import Ephemeral, ephemeral_ports, server_sides
from tracer.model.tcp import STATE, STATES

LARGEST = 10
"""Destinations that have a metric of their own."""

WINDOW = 10
"""Snapshots over which growth is measured."""

SMALL_SHARE = 0.1
"""Of the ephemeral ports: a use below it has no forecast, however it grows."""

UseKey = tuple[int | None, str, str]
"""Namespace, local address and destination of a PortUse."""

NO_CODES = np.empty(0, np.uint64)

SHOWN_STATES = STATES[1:12]
LEAVING = tuple(STATE[name] for name in ("fin_wait1", "fin_wait2", "closing", "last_ack"))


def largest(keys: Keys, counts: NDArray[np.intp] | NDArray[np.float64], wanted: int) -> NDArray[np.intp]:
    """Return the positions of the largest counts, of equal ones the smallest key first; shape (<= wanted,)."""
    candidates = np.arange(len(counts))
    if len(counts) > wanted:
        candidates = np.flatnonzero(counts >= np.partition(counts, -wanted)[-wanted])
    order: NDArray[np.intp] = candidates[np.lexsort((keys[candidates], -counts[candidates]))][:wanted]
    return order


def counted(at: Columns, keys: Keys, wanted: int = LARGEST) -> tuple[tuple[str, int], ...]:
    """Return how often each endpoint (keys, shape (n,)) occurs: the largest, then `other` for the rest if there is one."""
    different, counts = np.unique(keys, return_counts=True)
    shown = largest(different, counts, wanted)
    found = [(at.endpoint(int(different[i])), int(counts[i])) for i in shown]
    rest = len(keys) - sum(count for _, count in found)
    return (*found, (OTHER, rest)) if rest else tuple(found)


def services(at: Columns, server: Mask) -> Keys:
    """Return the service's address and port of each socket as a key, shape (n,)."""
    return key(0, np.where(server, at.local, at.remote), np.where(server, at.local_port, at.remote_port))


def port_use(at: Columns, using: Mask, dump: Dump, wanted: int = LARGEST) -> tuple[tuple[PortUse, ...], int | None]:
    """Return the destinations with the largest share of their ephemeral ports in use, and the most that any other has.

    Of a destination the local address with most counts; None where there is no other. using: who holds such a port, (n,).
    """
    keys = key(at.place[using], at.remote[using], at.remote_port[using])
    if not len(keys):
        return (), None
    destinations = unique(keys)
    ranks = np.searchsorted(destinations, keys).astype(np.uint64)
    pairs, counts = np.unique(ranks << np.uint64(ADDRESS_BITS) | at.local[using], return_counts=True)
    firsts = np.flatnonzero(np.diff(pairs >> np.uint64(ADDRESS_BITS), prepend=np.uint64(2**64 - 1)))
    most = np.maximum.reduceat(counts, firsts)
    limits = np.array([max(range_.limit, 1) for range_ in dump.ports.values()])
    shown = largest(destinations, most / limits[destinations >> np.uint64(PORT_BITS + ADDRESS_BITS)], wanted)
    ends = np.append(firsts, len(pairs))
    found = []
    for rank in shown:
        pair = firsts[rank] + int(counts[firsts[rank] : ends[rank + 1]].argmax())
        netns, range_ = next(itertools.islice(dump.ports.items(), int(destinations[rank]) >> PORT_BITS + ADDRESS_BITS, None))
        local, destination = at.address(int(pairs[pair]) & ADDRESS), at.endpoint(int(destinations[rank]))
        limit = range_.limit if range_.known else None
        found.append(PortUse(None if netns in dump.unnamed else netns, local, destination, int(counts[pair]), limit))
    rest = np.delete(most, shown)
    return tuple(found), int(rest.max()) if len(rest) else None


class _Sides(NamedTuple):
    """The ends of a dump's sockets as columns, which local ports are ephemeral, and which sockets are the service's side."""

    at: Columns
    ephemeral: Ephemeral
    server: Mask


def _sides(dump: Dump, served: ServedPorts | None) -> _Sides:
    at = columns(dump.sockets, {netns: place for place, netns in enumerate(dump.ports)})
    ephemeral = ephemeral_ports(at, dump.ports)
    return _Sides(at, ephemeral, server_sides(dump.sockets, at, ephemeral, served))


def summed(dump: Dump, wanted: int = LARGEST, chosen: Mask | None = None, served: ServedPorts | None = None) -> Snapshot:
    """Return the sums over a dump, without what takes two, or filters.

    chosen: which sockets, shape (n,); None for all. served: ports that are known to be services'.
    """
    return _sums(dump, _sides(dump, served), np.ones(len(dump.sockets), bool) if chosen is None else chosen, wanted, NO_CODES)


def _use_key(use: PortUse) -> UseKey:
    return use.netns, use.local_address, use.destination


def _sums(dump: Dump, sides: _Sides, chosen: Mask, wanted: int, bound: Keys) -> Snapshot:
    at, ephemeral, server = sides
    state = dump.sockets["state"]
    waiting = chosen & (dump.sockets["timer"] == TIMER_TIME_WAIT)
    nobodys = chosen & (dump.sockets["inode"] == 0) & ~waiting
    using = chosen & ephemeral.local & ~server & (state != STATE["close"])
    uses, other = port_use(at, using, dump, wanted)
    held = held_ports(dump, chosen & ephemeral.local, server, bound)
    states = np.bincount(state[chosen], minlength=256)
    limit = next((range_.limit for range_ in dump.ports.values()), None)
    return Snapshot(
        time_ns=dump.end_ns,
        duration_seconds=(dump.end_ns - dump.start_ns) / 1e9,
        namespaces=tuple(netns for netns in dump.ports if netns not in dump.unnamed),
        unnamed=len(dump.unnamed),
        states={name: int(states[STATE[name]]) for name in SHOWN_STATES},
        time_wait=counted(at, services(at, server)[chosen & (state == STATE["time_wait"])], wanted),
        ports=(*uses, *held[:wanted]),
        ports_other=other,
        ports_limit=limit,
        other_limits=tuple((n, range_.limit) for n, range_ in dump.ports.items() if range_.known and range_.limit != limit),
        orphans=int(np.count_nonzero(nobodys & is_in(state, LEAVING))),
        unaccepted=int(np.count_nonzero(nobodys & is_in(state, (STATE["established"], STATE["close_wait"])))),
        waiting_objects=int(np.count_nonzero(waiting)),
        moments=dump.moments,
    )


class Summarizer:
    """Makes snapshots; remembers the last ones, to say when the ephemeral ports of a destination will be used up.

    filters: which open connections and listeners are traced. rows: of how many open connections snapshots have all that the
    kernel tells. served: ports that are known to be services'. bound: ports of clients that had called bind().
    """

    def __init__(
        self, filters: Filters | None = None, rows: int = 0, served: ServedPorts | None = None, bound: BoundPorts | None = None
    ) -> None:
        self._filters = filters or Filters()
        self._looks = Looks(rows)
        self._served = served or ServedPorts()
        self._bound = bound or BoundPorts()
        self._past: deque[tuple[int, dict[UseKey, int]]] = deque(maxlen=WINDOW + 1)

    def __call__(self, dump: Dump) -> Snapshot:
        """Return the sums over a dump, with forecasts; dumps come in the order of their time."""
        sides = _sides(dump, self._served)
        snapshot = _sums(dump, sides, np.ones(len(dump.sockets), bool), LARGEST, self._bound.codes)
        self._bound.keep(codes_of(dump.sockets["netns"], dump.sockets["local_port"]))
        # where the number of a namespace is not known, several may have the same: none of these is forecast
        keys = Counter(map(_use_key, snapshot.ports))
        now = {_use_key(use): use.used for use in snapshot.ports if keys[_use_key(use)] == 1}
        self._past.append((snapshot.time_ns, now))
        uses = tuple(replace(use, forecast_seconds=self._forecast(use, snapshot.time_ns)) for use in snapshot.ports)
        return replace(
            snapshot,
            ports=uses,
            open=open_services(dump, sides.server, self._filters),
            listening=listening_services(dump, self._filters),
            queues=listen_queues(dump, self._filters),
            figures=open_figures(dump, sides.server, self._filters, self._looks),
        )

    def _forecast(self, use: PortUse, time_ns: int) -> float | None:
        """Return the seconds from the oldest snapshot with such a use in a straight line; None if small or unsteady."""
        if use.limit is None:
            return None
        if use.used >= use.limit:
            return 0.0
        key = _use_key(use)
        if key not in self._past[-1][1]:
            return None
        past = [(then_ns, uses[key]) for then_ns, uses in self._past if key in uses and then_ns < time_ns]
        course = [*(used for _, used in past), use.used]
        steady = all(before <= after for before, after in itertools.pairwise(course)) and course[-1] > course[len(past) // 2]
        if not past or not steady or use.used < SMALL_SHARE * use.limit:
            return None
        then_ns, used = past[0]
        return (use.limit - use.used) / (use.used - used) * (time_ns - then_ns) / 1e9
