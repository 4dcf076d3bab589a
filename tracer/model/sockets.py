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
from collections import deque
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.bound import BoundPorts
from tracer.ingest.figures import Figures
from tracer.ingest.served import ServedPorts, codes_of
from tracer.ingest.snapshot import Dump, Listening, ListenQueue, OpenService, PortUse, Snapshot
from tracer.ingest.sockdiag import TIMER_TIME_WAIT
from tracer.model.columns import ADDRESS, ADDRESS_BITS, PORT_BITS, Columns, Keys, Mask, columns, key, tally
from tracer.model.held import held_ports
from tracer.model.naming import OTHER
from tracer.model.sides import ephemeral_ports, server_sides
from tracer.model.tcp import STATE, STATES

LARGEST = 10
"""Destinations that have a metric of their own."""

WINDOW = 10
"""Snapshots over which growth is measured."""

SMALL_SHARE = 0.1
"""Of the ephemeral ports: a use below it has no forecast, however it grows."""

UseKey = tuple[int | None, str, str]
"""Namespace, local address and destination of a PortUse."""

FindOpen = Callable[[Dump, Mask], tuple[OpenService, ...] | None]
FindListening = Callable[[Dump], tuple[Listening, ...]]
FindQueues = Callable[[Dump], tuple[ListenQueue, ...]]
FindFigures = Callable[[Dump, Mask], Figures | None]

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
    unique, counts = tally(keys)
    shown = largest(unique, counts, wanted)
    found = [(at.endpoint(int(unique[i])), int(counts[i])) for i in shown]
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
    destinations, _ = tally(keys)
    ranks = np.searchsorted(destinations, keys).astype(np.uint64)
    pairs, counts = tally(ranks << np.uint64(ADDRESS_BITS) | at.local[using])
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


def no_open(_dump: Dump, _server: Mask) -> None:
    """Say nothing of open connections."""


def no_queues(_dump: Dump) -> tuple[ListenQueue, ...]:
    """Say nothing of listeners' queues."""
    return ()


def no_figures(_dump: Dump, _server: Mask) -> None:
    """Say nothing of open connections' figures."""


def no_listening(_dump: Dump) -> tuple[Listening, ...]:
    """Say nothing of listeners."""
    return ()


def summed(
    dump: Dump,
    wanted: int = LARGEST,
    chosen: Mask | None = None,
    served: ServedPorts | None = None,
    find_open: FindOpen = no_open,
    bound: BoundPorts | None = None,
    find_listening: FindListening = no_listening,
    find_figures: FindFigures = no_figures,
    find_queues: FindQueues = no_queues,
) -> Snapshot:
    """Return the sums over a dump, without a forecast, which takes two.

    chosen: which sockets, shape (n,); None for all. served: ports that are known to be services'. find_open, bound,
    find_listening, find_figures, find_queues: see Summarizer.
    """
    sockets = dump.sockets
    at = columns(sockets, {netns: place for place, netns in enumerate(dump.ports)})
    ephemeral = ephemeral_ports(at, dump.ports)
    server = server_sides(sockets, at, ephemeral, served)
    chosen = np.ones(len(sockets), bool) if chosen is None else chosen
    state = sockets["state"]
    waiting = chosen & (sockets["timer"] == TIMER_TIME_WAIT)
    nobodys = chosen & (sockets["inode"] == 0) & ~waiting
    using = chosen & ephemeral.local & ~server & (state != STATE["close"])
    uses, other = port_use(at, using, dump, wanted)
    held = held_ports(dump, chosen & ephemeral.local, server, bound.codes if bound else NO_CODES)
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
        orphans=int(np.count_nonzero(nobodys & np.isin(state, LEAVING))),
        unaccepted=int(np.count_nonzero(nobodys & np.isin(state, (STATE["established"], STATE["close_wait"])))),
        waiting_objects=int(np.count_nonzero(waiting)),
        open=find_open(dump, server),
        moments=dump.moments,
        listening=find_listening(dump),
        queues=find_queues(dump),
        figures=find_figures(dump, server),
    )


class Summarizer:
    """Remembers the last snapshots, to say when the ephemeral ports of a destination will be used up.

    served: ports that are known to be services'. find_open: which traced connections are open, of a dump and of which sockets
    are the service's side. bound: ports of clients that had called bind(). find_listening: which services somebody listens for.
    find_figures: the traced connections that are open, of a dump and of which sockets are the service's side. find_queues: the
    sockets that listen.
    """

    def __init__(
        self,
        served: ServedPorts | None = None,
        find_open: FindOpen = no_open,
        bound: BoundPorts | None = None,
        find_listening: FindListening = no_listening,
        find_figures: FindFigures = no_figures,
        find_queues: FindQueues = no_queues,
    ) -> None:
        self._find_listening, self._find_figures, self._find_queues = find_listening, find_figures, find_queues
        self._served = served or ServedPorts()
        self._bound = bound or BoundPorts()
        self._find_open = find_open
        self._past: deque[tuple[int, dict[UseKey, int]]] = deque(maxlen=WINDOW)

    def __call__(self, dump: Dump) -> Snapshot:
        """Return the sums over a dump, with forecasts; dumps come in the order of their time."""
        snapshot = summed(
            dump,
            served=self._served,
            find_open=self._find_open,
            bound=self._bound,
            find_listening=self._find_listening,
            find_figures=self._find_figures,
            find_queues=self._find_queues,
        )
        self._bound.keep(codes_of(dump.sockets["netns"], dump.sockets["local_port"]))
        now = {(use.netns, use.local_address, use.destination): use.used for use in snapshot.ports}
        uses = tuple(
            replace(use, forecast_seconds=self._forecast(key, use, snapshot.time_ns))
            for key, use in zip(now, snapshot.ports, strict=True)
        )
        self._past.append((snapshot.time_ns, now))
        return replace(snapshot, ports=uses)

    def _forecast(self, key: UseKey, use: PortUse, time_ns: int) -> float | None:
        """Return the seconds from the oldest snapshot with such a use in a straight line; None if small or unsteady."""
        if use.limit is None:
            return None
        if use.used >= use.limit:
            return 0.0
        past = [(then_ns, uses[key]) for then_ns, uses in self._past if key in uses and then_ns < time_ns]
        course = [*(used for _, used in past), use.used]
        steady = all(before <= after for before, after in itertools.pairwise(course)) and course[-1] > course[len(past) // 2]
        if not past or not steady or use.used < SMALL_SHARE * use.limit:
            return None
        then_ns, used = past[0]
        return (use.limit - use.used) / (use.used - used) * (time_ns - then_ns) / 1e9
