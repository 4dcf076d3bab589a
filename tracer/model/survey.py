"""What `tcptrace snapshot` shows beyond the sums: listeners with their queues, and who keeps sockets half closed.

CLOSE_WAIT is a socket whose peer has closed and whose process has not: while that lasts it is the process's fault. FIN_WAIT2
is the opposite. Neither state has a timer that tells its age. But nothing comes from a peer that has closed, so that the time
since it was last heard is the age of a CLOSE_WAIT, or less when it still acknowledged something.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tracer.ingest.owners import Owner
from tracer.ingest.sets import is_in
from tracer.ingest.snapshot import Dump, Snapshot
from tracer.ingest.sockdiag import TIMER_TIME_WAIT, Sockets
from tracer.model.columns import Mask, columns
from tracer.model.sides import ephemeral_ports, server_sides
from tracer.model.sockets import counted, services, summed
from tracer.model.tcp import STATE

HALF_CLOSED = ("close_wait", "fin_wait2")
HALF_CLOSED_BITS = sum(1 << STATE[name] for name in HALF_CLOSED)

NOT_ACCEPTED, ORPHANED, TIMED, UNKNOWN_OWNER = "(not accepted)", "(orphan)", "(orphan, timed)", "(unknown)"


@dataclass(frozen=True)
class HalfClosed:
    """Sockets of one process in one state. pid 0: process says why there is none. oldest_seconds: None when not known."""

    state: str
    process: str
    pid: int
    count: int
    oldest_seconds: float | None


@dataclass(frozen=True)
class Backlog:
    """A listening socket: connections that wait to be accepted, and how many may. drops: None where the kernel does not tell.

    pid, process: whose it is; 0 and nothing where that is not known.
    """

    netns: int
    endpoint: str
    used: int
    limit: int
    drops: int | None = None
    pid: int = 0
    process: str = ""


@dataclass(frozen=True)
class Survey:
    """Everything that `tcptrace snapshot` says.

    clients, servers: TIME_WAIT by destination and by local service. owners_hidden: processes that could not be looked into.
    """

    snapshot: Snapshot
    own_netns: int
    clients: tuple[tuple[str, int], ...]
    servers: tuple[tuple[str, int], ...]
    half_closed: tuple[HalfClosed, ...]
    listeners: tuple[Backlog, ...]
    owners_hidden: int = 0


def survey(
    dump: Dump, *, ports: Sequence[int], owners: Mapping[int, Owner], heard: Mapping[int, float], hidden: int, wanted: int
) -> Survey:
    """Return the survey of a dump, of these service ports only unless there are none.

    owners, heard: process, and seconds since the peer was last heard, by inode, as far as known. wanted: rows of each kind.
    """
    places = {netns: place for place, netns in enumerate(dump.ports)}
    at = columns(dump.sockets, places)
    server = server_sides(dump.sockets, at, ephemeral_ports(at, dump.ports))
    chosen = np.ones(len(dump.sockets), bool)
    if ports:
        chosen = is_in(np.where(server, at.local_port, at.remote_port), ports)
    waiting = chosen & (dump.sockets["state"] == STATE["time_wait"])
    keys = services(at, server)
    return Survey(
        summed(dump, wanted, chosen),
        next(iter(dump.ports)),
        counted(at, keys[waiting & ~server], wanted),
        counted(at, keys[waiting & server], wanted),
        half_closed(dump.sockets[chosen], owners, heard),
        backlogs(dump, chosen, owners),
        hidden,
    )


def wanted_inodes(sockets: Sockets) -> set[int]:
    """Return the inodes of the sockets that are half closed, or listen."""
    half = is_in(sockets["state"], [STATE[name] for name in (*HALF_CLOSED, "listen")])
    return {int(inode) for inode in sockets["inode"][half] if inode}


def half_closed(sockets: Sockets, owners: Mapping[int, Owner], heard: Mapping[int, float]) -> tuple[HalfClosed, ...]:
    """Return half closed sockets by state and process, CLOSE_WAIT first, then the largest numbers."""
    groups: dict[tuple[str, Owner], list[float | None]] = defaultdict(list)
    for state in HALF_CLOSED:
        for socket in sockets[sockets["state"] == STATE[state]]:
            inode = int(socket["inode"])
            owner = owners.get(inode) or Owner(0, _nobody(state, inode, int(socket["timer"])))
            groups[state, owner].append(heard.get(inode) if inode else None)
    rows = [HalfClosed(state, who.process, who.pid, len(ages), _oldest(ages)) for (state, who), ages in groups.items()]
    return tuple(sorted(rows, key=lambda row: (HALF_CLOSED.index(row.state), -row.count, row.pid)))


def _nobody(state: str, inode: int, timer: int) -> str:
    if inode:
        return UNKNOWN_OWNER
    if timer == TIMER_TIME_WAIT:
        return TIMED
    return NOT_ACCEPTED if state == "close_wait" else ORPHANED


def _oldest(ages: Sequence[float | None]) -> float | None:
    return max((age for age in ages if age is not None), default=None)


def backlogs(dump: Dump, chosen: Mask, owners: Mapping[int, Owner]) -> tuple[Backlog, ...]:
    """Return the listeners among the chosen sockets, shape (n,), the fullest first."""
    listens = dump.sockets["state"] == STATE["listen"]
    drops = dict(zip(dump.details["place"].tolist(), dump.details["drops"].tolist(), strict=True))
    places = np.flatnonzero(chosen & listens)
    listeners = dump.sockets[places]
    at = columns(listeners, {netns: place for place, netns in enumerate(dump.ports)})
    keys = services(at, np.ones(len(listeners), bool))
    rows = [
        Backlog(
            int(socket["netns"]),
            at.endpoint(int(key)),
            int(socket["rqueue"]),
            int(socket["wqueue"]),
            drops.get(place),
            owner.pid,
            owner.process,
        )
        for key, socket, place in zip(keys, listeners, places.tolist(), strict=True)
        for owner in (owners.get(int(socket["inode"]), Owner(0, "")),)
    ]
    return tuple(sorted(rows, key=lambda row: (-row.used / max(row.limit, 1), -row.used, row.endpoint)))
