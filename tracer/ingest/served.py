"""Ports on which somebody serves or served: what tells the sides of a connection whose listener is gone.

The sockets themselves tell of connections that were accepted before (bpf/holders.c), where a process has them. The dumps say
who listens, once a second; the records of servers' connections say it of those that came and went in between.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.decode import LAYOUT
from tracer.ingest.sets import is_among, is_in
from tracer.ingest.transposed import RecordColumns

MAX_SERVED = 1 << 16
"""Ports that are remembered; a bound for hosts on which every connection has a listener of its own."""

Codes = NDArray[np.uint64]
"""Namespace (inode) and port as one number: the first above the 16 bits of the second."""

_SERVER = LAYOUT.enums["role"]["ROLE_SERVER"]
_CLIENT = LAYOUT.enums["role"]["ROLE_CLIENT"]
_RESET = LAYOUT.enums["event_kind"]["EVENT_RESET"]
_HANDSHAKE = LAYOUT.enums["event_kind"]["EVENT_HANDSHAKE"]


def codes_of(netns: NDArray[np.uint32], ports: NDArray[np.uint16]) -> Codes:
    """Return the codes of namespaces and ports, shape (n,)."""
    codes: Codes = netns.astype(np.uint64) << np.uint64(16) | ports.astype(np.uint64)
    return codes


def _codes_at(events: RecordColumns, rows: NDArray[np.intp]) -> Codes:
    """Return the codes of the local ports of some records; columns are gathered, as copying whole records costs more."""
    return codes_of(events["netns"][rows], events["local_port"][rows])


class ServedPorts:
    """Codes of ports, sorted, for several threads. codes: shape (n,); replaced as a whole when there are more.

    before: those of connections that had been accepted when the tracing began.
    """

    def __init__(self, before: Sequence[int] = ()) -> None:
        self.codes: Codes = np.sort(np.array(before, np.uint64))
        self._lock = threading.Lock()

    def note_records(self, events: RecordColumns) -> None:
        """Take in the ports of servers' connections, and forget those that clients have by now.

        A reset may answer a SYN to a port on which nobody serves.
        """
        role, kind = events["role"], events["kind"]
        servers = np.flatnonzero((role == _SERVER) & (kind != _RESET))
        if len(servers):
            self.note(_codes_at(events, servers))
        clients = np.flatnonzero((role == _CLIENT) & (kind == _HANDSHAKE))
        if len(clients) and len(self.codes):
            codes = _codes_at(events, clients)
            self._forget(codes[is_among(codes, self.codes)])

    def _forget(self, codes: Codes) -> None:
        if len(codes):
            with self._lock:
                self.codes = self.codes[~is_in(self.codes, codes)]

    def note(self, codes: Codes) -> None:
        """Take in codes, shape (n,), in any order."""
        fresh = codes[~is_among(codes, self.codes)]
        if not len(fresh):
            return
        with self._lock:
            together = np.sort(np.concatenate((self.codes, fresh)))
            first = np.ones(len(together), bool)
            first[1:] = together[1:] != together[:-1]
            if int(first.sum()) <= MAX_SERVED:
                self.codes = together[first]
