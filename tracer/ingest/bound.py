"""Ports that clients' sockets took with bind() before connect(), without IP_BIND_ADDRESS_NO_PORT, as their records tell.

A dump tells only of those that are not connected yet, and the sockets themselves of those from before the start. Such a port
stays taken from all destinations until the last of its sockets is gone, TIME_WAIT included; then it is forgotten here, too.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from tracer.ingest.decode import LAYOUT
from tracer.ingest.served import Codes, codes_of
from tracer.ingest.sets import is_in, union, unique
from tracer.ingest.transposed import RecordColumns

MAX_BOUND = 1 << 16

_CLIENT = LAYOUT.enums["role"]["ROLE_CLIENT"]
_HANDSHAKE = LAYOUT.enums["event_kind"]["EVENT_HANDSHAKE"]
_BOUND = LAYOUT.enums["event_flag"]["FLAG_BOUND"]


class BoundPorts:
    """Codes of namespaces and ports (served.py), sorted, shape (n,); for several threads.

    before: those that had been taken when the tracing began.
    """

    def __init__(self, before: Sequence[int] = ()) -> None:
        self.codes: Codes = unique(np.array(before, np.uint64))
        self._fresh: Codes = np.empty(0, np.uint64)
        self._lock = threading.Lock()

    def note_records(self, events: RecordColumns) -> None:
        """Take in the ports of clients that had one of bind()."""
        places = np.flatnonzero(events["flags"] & _BOUND)
        places = places[(events["kind"][places] == _HANDSHAKE) & (events["role"][places] == _CLIENT)]
        if not len(places):
            return
        with self._lock:
            self._fresh = union(self._fresh, codes_of(events["netns"][places], events["local_port"][places]))[:MAX_BOUND]
            self.codes = union(self.codes, self._fresh)

    def keep(self, used: Codes) -> None:
        """Forget the ports that no socket of a dump has, codes of shape (n,), unless they are younger than the dump before."""
        if not len(self.codes):
            return
        with self._lock:
            self.codes = union(self.codes[is_in(self.codes, used)], self._fresh)
            self._fresh = np.empty(0, np.uint64)
