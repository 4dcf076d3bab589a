"""Ports that bind() has taken away from all destinations: the rows `*` of the ephemeral ports in use.

A connect() without a port of its own looks for one that nobody has bound, whatever the address and the destination
(tb->fastreuse in __inet_hash_connect(); of several sockets on one port it is the first that decides). Held like this are the
ports of sockets that have only been bound (Linux 6.8 and later list them), of listeners and all that they accepted, and of
clients that called bind() with an address alone, or a port, before connect(), until the last TIME_WAIT is gone. Whether a
connected socket had been bound the list does not say. Records do, of the connections that began since the start, and the
sockets of earlier ones (bpf/holders.c).
"""

from __future__ import annotations

import numpy as np

from tracer.ingest.served import Codes, codes_of
from tracer.ingest.sets import is_in, unique
from tracer.ingest.snapshot import Dump, PortUse
from tracer.model.columns import Mask
from tracer.model.tcp import STATE

ALL = "*"


def held_ports(dump: Dump, ephemeral: Mask, server: Mask, bound: Codes) -> list[PortUse]:
    """Return how many ephemeral ports are held in each namespace of which the range is known, the most first.

    ephemeral, server: which sockets have such a local port, and which are the service's side, shape (n,).
    bound: ports of which records tell that bind() chose them.
    """
    sockets = dump.sockets
    codes = codes_of(sockets["netns"], sockets["local_port"])
    held = is_in(sockets["state"], (STATE["close"], STATE["listen"])) | server
    if len(bound):
        held |= is_in(codes, bound)
    ports = unique(codes[held & ephemeral])
    places, counts = np.unique(ports >> np.uint64(16), return_counts=True)
    found = []
    for netns, count in zip(places.tolist(), counts.tolist(), strict=True):
        if (range_ := dump.ports[netns]).known:
            found.append(PortUse(netns, ALL, ALL, count, range_.limit))
    return sorted(found, key=lambda use: -use.used / max(use.limit or 0, 1))
