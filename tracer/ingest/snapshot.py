"""A snapshot of all sockets, summed up: what a Reading carries, and what a recording keeps of it as JSON.

The sums themselves are made by model/sockets.py; these are only their results, so that sources can pass them on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from tracer.ingest.figures import Figures
from tracer.ingest.plausible import checked
from tracer.ingest.ports import EphemeralPorts
from tracer.ingest.sockdiag import Sockets
from tracer.ingest.tcpinfo import NO_DETAILS, Details

MARGIN_NS = 20_000_000
"""A record's time and the moment from which a dump sees its change differ by less: a processor may be taken away between."""


class Moment(NamedTuple):
    """When the sockets of a namespace were read: CLOCK_MONOTONIC before and after."""

    netns: int
    start_ns: int
    end_ns: int


class OpenService(NamedTuple):
    """How many connections of a service are open; role: client or server, port: the service's."""

    netns: int
    role: str
    port: int
    connections: int


class Listening(NamedTuple):
    """A service that somebody listens for. cgroup: the socket's, 0 where it is not known, or not asked for."""

    netns: int
    port: int
    cgroup: int = 0


class ListenQueue(NamedTuple):
    """A listening socket. cookie: its number for ever; waiting: connections that nobody has accepted yet; limit: how many may.

    drops: connections that it had no room for since it listens; None where the kernel does not tell.
    """

    netns: int
    port: int
    cookie: int
    waiting: int
    limit: int
    drops: int | None = None


@dataclass(frozen=True)
class Dump:
    """All sockets at one time, of all namespaces that are seen.

    ports: the ephemeral ones by namespace, the own one first. start_ns, end_ns: by the clock of the events, around the reading.
    moments: the same for each namespace, of which all sockets were read.
    unnamed: those of the namespaces whose numbers are not known, so that others stand for them.
    cgroups: those of listening sockets, by inode, as far as they were asked for.
    details: of sockets, by their places, as far as they were asked for and the kernel tells them; plain: of listeners alone.
    """

    sockets: Sockets
    ports: Mapping[int, EphemeralPorts]
    start_ns: int
    end_ns: int
    moments: tuple[Moment, ...] = ()
    unnamed: frozenset[int] = frozenset()
    cgroups: Mapping[int, int] = field(default_factory=dict)
    details: Details = field(default_factory=lambda: NO_DETAILS)
    plain: bool = False

    @property
    def own_netns(self) -> int:
        """The own namespace, 0 where none was read."""
        return next(iter(self.ports), 0)


@dataclass(frozen=True)
class PortUse:
    """Ephemeral ports in use from one local address to one destination, the service's address:port.

    Of ports that bind() holds both are `*`. netns: None where its number is not known.
    limit: of the namespace, None where it is not known.
    forecast_seconds: until all are in use, at the rate of the last snapshots; None when not growing.
    seen: `sockets`, or `events` where the namespace's sockets cannot be listed.
    """

    netns: int | None
    local_address: str
    destination: str
    used: int
    limit: int | None
    forecast_seconds: float | None = None
    seen: str = "sockets"


@dataclass(frozen=True)
class Snapshot:
    """Sums over all sockets at one time.

    time_ns: by the clock of the events, when the list was read; duration_seconds: how long the reading and summing took.
    namespaces: which were seen, by inode; unnamed: how many more, whose inode is not known.
    states: sockets by each of the eleven states.
    time_wait: by the service's address:port, the largest, then `other`; the sum is that of the state.
    ports: ephemeral ports in use, destinations with the largest share of their limit; ports_other: the most that any other has.
    ports_limit: of tcptrace's own namespace. other_limits: of the namespaces in which it is another one, as far as known.
    orphans: closed by their process, and not at their end yet. unaccepted: complete, but not accepted yet by a process.
    waiting_objects: timewait objects, in state TIME_WAIT or FIN_WAIT2; what /proc/net/sockstat counts as tw.
    open: connections by namespace and service, of those that are traced; None where a dump cannot tell those.
    moments: when, of each namespace of which all sockets were read.
    listening: services that somebody listens for, of those that are traced; each once. queues: their sockets.
    errors: snapshots that have failed since the start; this is the last one that did not.
    figures: the open connections themselves, as of the last dump that asked for them, of a recording the last that it has;
    None where the kernel did not tell, or was never asked.
    """

    time_ns: int = 0
    duration_seconds: float = 0.0
    namespaces: tuple[int, ...] = ()
    unnamed: int = 0
    states: Mapping[str, int] = field(default_factory=dict)
    time_wait: tuple[tuple[str, int], ...] = ()
    ports: tuple[PortUse, ...] = ()
    ports_other: int | None = None
    ports_limit: int | None = None
    other_limits: tuple[tuple[int, int], ...] = ()
    orphans: int = 0
    unaccepted: int = 0
    waiting_objects: int = 0
    open: tuple[OpenService, ...] | None = None
    moments: tuple[Moment, ...] = ()
    listening: tuple[Listening, ...] = ()
    queues: tuple[ListenQueue, ...] = ()
    errors: int = 0
    figures: Figures | None = None


_MAYBE_NUMBER = (int, float, type(None))
_KINDS: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("time_ns", "unnamed", "orphans", "unaccepted", "waiting_objects", "errors"), (int,)),
    **dict.fromkeys(("ports_other", "ports_limit"), (int, type(None))),
    **dict.fromkeys(("namespaces", "time_wait", "ports", "other_limits", "moments", "listening", "queues"), (list,)),
    "duration_seconds": (int, float),
    "states": (dict,),
    "open": (list, type(None)),
}
_PORT_KINDS: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("local_address", "destination", "seen"), (str,)),
    **dict.fromkeys(("netns", "limit"), (int, type(None))),
    "used": (int,),
    "forecast_seconds": _MAYBE_NUMBER,
}


def snapshot_document(snapshot: Snapshot) -> dict[str, Any]:
    """Return a snapshot as JSON can hold it."""
    found = {**asdict(replace(snapshot, figures=None)), "states": dict(snapshot.states)}
    del found["figures"]
    return found


def parse_snapshot(document: Mapping[str, Any]) -> Snapshot:
    """Return what snapshot_document() was given; raises ValueError, KeyError, TypeError or AttributeError for anything else."""
    return Snapshot(
        **{
            **checked(document, _KINDS),
            "namespaces": tuple(map(int, document["namespaces"])),
            "states": {str(state): int(count) for state, count in document["states"].items()},
            "time_wait": tuple((str(name), int(count)) for name, count in document["time_wait"]),
            "open": None if document["open"] is None else tuple(_open_service(*row) for row in document["open"]),
            "moments": tuple(Moment(*map(int, row)) for row in document["moments"]),
            "listening": tuple(Listening(*map(int, row)) for row in document.get("listening", ())),
            "queues": tuple(_queue(*row) for row in document.get("queues", ())),
            "figures": None,
            "other_limits": tuple((int(netns), int(limit)) for netns, limit in document["other_limits"]),
            "ports": tuple(PortUse(**checked(use, _PORT_KINDS)) for use in document["ports"]),
        }
    )


def _queue(netns: int, port: int, cookie: int, waiting: int, limit: int, drops: int | None) -> ListenQueue:
    return ListenQueue(int(netns), int(port), int(cookie), int(waiting), int(limit), None if drops is None else int(drops))


def _open_service(netns: object, role: object, port: object, count: object) -> OpenService:
    if role not in {"client", "server"}:
        raise ValueError("no role")
    return OpenService(int(str(netns)), str(role), int(str(port)), int(str(count)))
