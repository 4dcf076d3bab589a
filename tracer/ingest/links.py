"""Names of interfaces in network namespaces without a socket of ours, unprivileged: from a process that lives there.

/proc/PID/net/if_inet6 has index and name of every interface with an IPv6 address, and anybody may read it. Which process lives
in the namespace of a record its number tells, to who may trace the process; else a connection of the record that is in the
process's net/tcp6. Where that is true of several namespaces, or of none, there is no name: an index means another interface
elsewhere. Only link-local addresses ask, so that hosts without such connections pay nothing.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from tracer.ingest.decode import Events
from tracer.ingest.interfaces import is_link_local, split_address
from tracer.ingest.names import name_text
from tracer.ingest.residents import find_residents, identity_of, number_of

SEARCH_SHARE = 0.01
FIRST_SECONDS = 0.1
"""Of a core, what looking for processes may take in the long run, and how many seconds of it at once."""

CONNECTIONS = 32
"""Of how many of a batch's connections the ends are looked for."""

LIMIT = 1024


class Links:
    """Remembers which process lives in which namespace, by the namespace's number."""

    def __init__(self) -> None:
        self._places: dict[int, tuple[int, int]] = {}
        self._spent = -FIRST_SECONDS
        self._start = time.monotonic()

    def name(self, netns: int, index: int, events: Events) -> str | None:
        """Return the name of an interface, None where it cannot be told; events: records, some of that namespace."""
        place = self._places.get(netns)
        if place is None or identity_of(place[0]) != place[1]:
            self._places.pop(netns, None)
            place = self._search(netns, events)
        return interface_names(*place).get(index) if place else None

    def _search(self, netns: int, events: Events) -> tuple[int, int] | None:
        if self._spent > (time.monotonic() - self._start) * SEARCH_SHARE:
            return None
        start = time.thread_time()
        lines = connection_lines(events[events["netns"] == netns])
        found = [
            (pid, identity)
            for identity, pid in find_residents().items()
            if identity != identity_of(os.getpid()) and _lives_in(pid, identity, netns, lines)
        ]
        self._spent += time.thread_time() - start
        if len(found) != 1:
            return None
        if len(self._places) == LIMIT:
            del self._places[next(iter(self._places))]
        self._places[netns] = found[0]
        return found[0]


def connection_lines(events: Events) -> list[bytes]:
    """Return how the latest connections between link-local addresses stand in /proc/net/tcp6."""
    chosen = events[is_link_local(events["remote_address"]) & (events["local_port"] != 0)][-CONNECTIONS:]
    return list({_end(event, "local") + b" " + _end(event, "remote") + b" " for event in chosen})


def _end(event: np.void, side: str) -> bytes:
    address, _ = split_address(event[f"{side}_address"].tobytes())
    words = np.frombuffer(address, "=u4").tolist()
    return b"%08X%08X%08X%08X:%04X" % (*words, int(event[f"{side}_port"]))


def _lives_in(pid: int, identity: int, netns: int, lines: list[bytes]) -> bool:
    number = number_of(pid)
    if number is not None:
        return number == netns and identity_of(pid) == identity
    try:
        text = Path(f"/proc/{pid}/net/tcp6").read_bytes()
    except OSError:
        return False
    return identity_of(pid) == identity and any(line in text for line in lines)


def interface_names(pid: int, identity: int) -> dict[int, str]:
    """Return the names of the interfaces with an IPv6 address where a process lives, by index; none if it has moved."""
    try:
        text = Path(f"/proc/{pid}/net/if_inet6").read_bytes()
    except OSError:
        return {}
    if identity_of(pid) != identity:
        return {}
    return {int(row[1], 16): name_text(row[5]) for line in text.splitlines() if len(row := line.split()) == 6}
