"""What a dump of all sockets says: sums by state and destination, and how long the ephemeral ports will last.

Theory of operation. A socket does not say who opened it. It is the server's side when somebody listens on its local port, the
client's when only that port is an ephemeral one. When both are, as with a service that chose any port and has ended, the
endpoint that occurs more often is the service's; when neither is, the smaller port. The destination is the service's
address:port: the remote one of a client, the local one of a server. So on loopback both sides have the same one.

A connect() needs a local port that is not in use from its address to that destination; a port in TIME_WAIT is in use. Only
with net.ipv4.tcp_tw_reuse (1; 2, the default, on loopback alone) can a connect() take over one that has been in TIME_WAIT for
a second, so that what counts as used here is not always lost. SO_REUSEADDR changes nothing for it. A bind() before the
connect() without IP_BIND_ADDRESS_NO_PORT takes a port away from all destinations; this is not seen here. And of an odd number
of ports the kernel tries all but one, so that the last one may stay free while connect() fails (__inet_hash_connect).

An address is a number: of IPv4 the address itself, of IPv6 2**32 and its rank among those in the dump. With the port and the
namespace's place it fits into 64 bits, and groups are found by sorting such keys, which is what all this costs.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.ports import EphemeralPorts
from tracer.ingest.snapshot import Dump, PortUse, Snapshot
from tracer.ingest.sockdiag import TIMER_TIME_WAIT, Sockets
from tracer.model.labels import OTHER
from tracer.model.tcp import STATE, STATES

Keys = NDArray[np.uint64]
Mask = NDArray[np.bool_]

LARGEST = 10
"""Destinations that have a metric of their own."""

WINDOW = 10
"""Snapshots over which growth is measured."""

SHOWN_STATES = STATES[1:12]
LEAVING = tuple(STATE[name] for name in ("fin_wait1", "fin_wait2", "closing", "last_ack"))

_IPV6 = 1 << 32
_PORT_BITS, _ADDRESS_BITS = 16, 33
_PORT, _ADDRESS = (1 << _PORT_BITS) - 1, (1 << _ADDRESS_BITS) - 1


@dataclass(frozen=True)
class Columns:
    """A dump's sockets in columns of shape (n,), uint64: place (rank of the namespace), address numbers and ports.

    six: the IPv6 addresses by rank, shape (k, 16).
    """

    place: Keys
    local: Keys
    remote: Keys
    local_port: Keys
    remote_port: Keys
    six: NDArray[np.uint8]

    def address(self, number: int) -> str:
        """Return an address as text."""
        return str(IPv4Address(number) if number < _IPV6 else IPv6Address(self.six[number - _IPV6].tobytes()))

    def endpoint(self, key: int) -> str:
        """Return the address:port of a key that ends in them, `[address]:port` for IPv6."""
        address = self.address(key >> _PORT_BITS & _ADDRESS)
        return f"[{address}]:{key & _PORT}" if ":" in address else f"{address}:{key & _PORT}"


def columns(sockets: Sockets, places: Mapping[int, int]) -> Columns:
    """Return the columns of sockets; places: rank of each namespace by its inode."""
    both = np.concatenate((sockets["local_address"], sockets["remote_address"])).view(">u8").astype(np.uint64)
    numbers, six = _address_numbers(both[:, 0], both[:, 1])
    return Columns(
        _places(sockets["netns"], places),
        numbers[: len(sockets)],
        numbers[len(sockets) :],
        sockets["local_port"].astype(np.uint64),
        sockets["remote_port"].astype(np.uint64),
        six,
    )


def _places(netns: NDArray[np.uint32], places: Mapping[int, int]) -> Keys:
    found = np.zeros(len(netns), np.uint64)
    for inode, place in places.items():
        if place:
            found[netns == inode] = place
    return found


def _address_numbers(high: Keys, low: Keys) -> tuple[Keys, NDArray[np.uint8]]:
    numbers = low & np.uint64(0xFFFFFFFF)
    others = np.flatnonzero((high != 0) | (low >> np.uint64(32) != 0xFFFF))
    order = others[np.lexsort((low[others], high[others]))]
    fresh = np.ones(len(order), bool)
    fresh[1:] = (high[order[1:]] != high[order[:-1]]) | (low[order[1:]] != low[order[:-1]])
    numbers[order] = np.cumsum(fresh).astype(np.uint64) + np.uint64(_IPV6 - 1)
    first = order[fresh]
    return numbers, np.stack((high[first], low[first]), axis=1).astype(">u8").view(np.uint8).reshape(-1, 16)


def server_sides(sockets: Sockets, at: Columns, ephemeral: Ephemeral) -> Mask:
    """Return which sockets are the service's side, shape (n,); see the top."""
    listening = np.zeros((int(at.place.max(initial=0)) + 1, 1 << _PORT_BITS), bool)
    listeners = sockets["state"] == STATE["listen"]
    listening[at.place[listeners], at.local_port[listeners]] = True
    served: Mask = listening[at.place, at.local_port]
    served = served | (~ephemeral.local & (ephemeral.remote | (at.local_port < at.remote_port)))
    unclear = np.flatnonzero(ephemeral.local & ephemeral.remote & ~served)
    served[unclear] = _occurs_more_often(at, unclear)
    return served


def _occurs_more_often(at: Columns, rows: NDArray[np.intp]) -> Mask:
    """Return of which of these sockets the local endpoint occurs more often than the remote one, among them; shape (rows,)."""
    ends = [
        _key(at.place[rows], address[rows], port[rows])
        for address, port in ((at.local, at.local_port), (at.remote, at.remote_port))
    ]
    counts = []
    for end in ends:
        unique, count = tally(end)
        counts.append(count[np.searchsorted(unique, end)])
    more: Mask = counts[0] > counts[1]
    return more


@dataclass(frozen=True)
class Ephemeral:
    """Which sockets have a local, or a remote, port out of their namespace's ephemeral ones; each of shape (n,)."""

    local: Mask
    remote: Mask


def ephemeral_ports(at: Columns, ports: Mapping[int, EphemeralPorts]) -> Ephemeral:
    """Return which ports are ephemeral; of other hosts it is guessed that they have the same range."""
    table = np.zeros((max(len(ports), 1), 1 << _PORT_BITS), bool)
    for row, range_ in zip(table, ports.values(), strict=False):
        row[range_.low : range_.high + 1] = True
        row[list(range_.reserved)] = False
    return Ephemeral(table[at.place, at.local_port], table[at.place, at.remote_port])


def _key(place: Keys | int, address: Keys, port: Keys) -> Keys:
    key: Keys = np.uint64(place) << np.uint64(_PORT_BITS + _ADDRESS_BITS) | address << np.uint64(_PORT_BITS) | port
    return key


def tally(keys: Keys) -> tuple[Keys, NDArray[np.intp]]:
    """Return the different keys in their order, and how often each occurs; shape (k,) each.

    As np.unique() does, which imports a part of numpy when it is first called: too late, without rights to the files.
    """
    ordered = np.sort(keys)
    fresh = np.ones(len(keys), bool)
    fresh[1:] = ordered[1:] != ordered[:-1]
    firsts = np.flatnonzero(fresh)
    return ordered[firsts], np.diff(firsts, append=len(keys))


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
    return _key(0, np.where(server, at.local, at.remote), np.where(server, at.local_port, at.remote_port))


def port_use(
    at: Columns, using: Mask, ports: Mapping[int, EphemeralPorts], wanted: int = LARGEST
) -> tuple[tuple[PortUse, ...], int | None]:
    """Return the destinations with the largest share of their ephemeral ports in use, and the most that any other has.

    Of a destination the local address with most counts; None where there is no other. using: who holds such a port, (n,).
    """
    keys = _key(at.place[using], at.remote[using], at.remote_port[using])
    if not len(keys):
        return (), None
    destinations, _ = tally(keys)
    ranks = np.searchsorted(destinations, keys).astype(np.uint64)
    pairs, counts = tally(ranks << np.uint64(_ADDRESS_BITS) | at.local[using])
    firsts = np.flatnonzero(np.diff(pairs >> np.uint64(_ADDRESS_BITS), prepend=np.uint64(2**64 - 1)))
    most = np.maximum.reduceat(counts, firsts)
    limits = np.array([max(range_.limit, 1) for range_ in ports.values()])
    shown = largest(destinations, most / limits[destinations >> np.uint64(_PORT_BITS + _ADDRESS_BITS)], wanted)
    ends = np.append(firsts, len(pairs))
    found = []
    for rank in shown:
        pair = firsts[rank] + int(counts[firsts[rank] : ends[rank + 1]].argmax())
        netns, range_ = next(itertools.islice(ports.items(), int(destinations[rank]) >> _PORT_BITS + _ADDRESS_BITS, None))
        local = at.address(int(pairs[pair]) & _ADDRESS)
        found.append(PortUse(netns, local, at.endpoint(int(destinations[rank])), int(counts[pair]), range_.limit))
    rest = np.delete(most, shown)
    return tuple(found), int(rest.max()) if len(rest) else None


def summed(dump: Dump, wanted: int = LARGEST, chosen: Mask | None = None) -> Snapshot:
    """Return the sums over a dump, without a forecast, which takes two. chosen: which sockets, shape (n,); None for all."""
    sockets = dump.sockets
    at = columns(sockets, {netns: place for place, netns in enumerate(dump.ports)})
    ephemeral = ephemeral_ports(at, dump.ports)
    server = server_sides(sockets, at, ephemeral)
    chosen = np.ones(len(sockets), bool) if chosen is None else chosen
    state = sockets["state"]
    waiting = chosen & (sockets["timer"] == TIMER_TIME_WAIT)
    nobodys = chosen & (sockets["inode"] == 0) & ~waiting
    uses, other = port_use(at, chosen & ephemeral.local & ~server, dump.ports, wanted)
    states = np.bincount(state[chosen], minlength=256)
    return Snapshot(
        time_ns=dump.end_ns,
        duration_seconds=(dump.end_ns - dump.start_ns) / 1e9,
        namespaces=tuple(dump.ports),
        states={name: int(states[STATE[name]]) for name in SHOWN_STATES},
        time_wait=counted(at, services(at, server)[chosen & (state == STATE["time_wait"])], wanted),
        ports=uses,
        ports_other=other,
        ports_limit=next((range_.limit for range_ in dump.ports.values()), None),
        orphans=int(np.count_nonzero(nobodys & np.isin(state, LEAVING))),
        unaccepted=int(np.count_nonzero(nobodys & np.isin(state, (STATE["established"], STATE["close_wait"])))),
        waiting_objects=int(np.count_nonzero(waiting)),
    )


class Summarizer:
    """Remembers the last snapshots, to say when the ephemeral ports of a destination will be used up.

    find_older: what the first snapshot says of connections that were there before, by service.
    """

    def __init__(self, find_older: Callable[[Dump], Mapping[tuple[str, int], int]] = lambda _: {}) -> None:
        self._find_older = find_older
        self._past: deque[tuple[int, dict[tuple[int, str, str], int]]] = deque(maxlen=WINDOW)

    def __call__(self, dump: Dump) -> Snapshot:
        """Return the sums over a dump, with forecasts; dumps come in the order of their time."""
        snapshot = summed(dump)
        now = {(use.netns, use.local_address, use.destination): use.used for use in snapshot.ports}
        uses = tuple(
            replace(use, forecast_seconds=self._forecast(key, use, snapshot.time_ns))
            for key, use in zip(now, snapshot.ports, strict=True)
        )
        older = () if self._past else tuple(self._find_older(dump).items())
        self._past.append((snapshot.time_ns, now))
        return replace(snapshot, ports=uses, older=older)

    def _forecast(self, key: tuple[int, str, str], use: PortUse, time_ns: int) -> float | None:
        """Return the seconds from the oldest snapshot in which there was such a use, in a straight line."""
        if use.used >= use.limit:
            return 0.0
        for then_ns, uses in self._past:
            if key in uses and time_ns > then_ns:
                growth = (use.used - uses[key]) / (time_ns - then_ns) * 1e9
                return (use.limit - use.used) / growth if growth > 0 else None
        return None
