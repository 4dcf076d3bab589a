"""Open connections that only one side has closed, by service and process: who leaks sockets, or waits for one who does.

In CLOSE_WAIT the peer has closed and this side's process has not; in FIN_WAIT2 it is the other way round. Timewait objects that
wait for a FIN are none: no process has them any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.names import name_text
from tracer.model.naming import OTHER
from tracer.model.tcp import ROLE, ROLES, STATE

LEAKING = ("close_wait", "fin_wait2")
LARGEST = 10
"""So many of each state have a figure of their own."""

UNKNOWN = "unknown"
"""The process of connections whose handshake was not seen."""


@dataclass(frozen=True)
class Leak:
    """So many sockets of a service and a process are in a state of LEAKING; OTHER in all three: of all that are not named."""

    state: str
    role: str
    port: str
    process: str
    sockets: int

    @property
    def name(self) -> str:
        """Who it is, in words."""
        return self.process if self.process == OTHER else f"{self.role} {self.port} {self.process}"


def leaks(found: NDArray[np.void], processes: NDArray[np.bytes_]) -> tuple[Leak, ...]:
    """Return who has connections in each state of LEAKING, of those of a dump (dtype OPEN) with their processes, shape (n,)."""
    server = found["role"] == ROLE["server"]
    ports = np.where(server, found["local_port"], found["remote_port"])
    rows: list[Leak] = []
    for state in LEAKING:
        places = np.flatnonzero(found["state"] == STATE[state])
        columns = (found["role"][places].tolist(), ports[places].tolist(), processes[places].tolist())
        rows += _largest(state, zip(*columns, strict=True))
    return tuple(rows)


def _largest(state: str, sockets: Iterable[tuple[int, int, bytes]]) -> list[Leak]:
    counts = Counter(sockets).most_common()
    rows = [
        Leak(state, ROLES[role], str(port), name_text(process) or UNKNOWN, count)
        for (role, port, process), count in counts[:LARGEST]
    ]
    rest = sum(count for _, count in counts[LARGEST:])
    return [*rows, Leak(state, OTHER, OTHER, OTHER, rest)] if rest else rows
