"""Which side of a connection is the service's, of the sockets of a dump: the one place that decides.

Theory of operation. A socket does not say who opened it. A port on which somebody listens in that namespace, or did since the
tracing began or before (ingest/served.py), is a service's, at either end: so a client that bound a reserved port is a client.
Events know from the sockets themselves who opened a connection (role_of() in bpf/conn.h), and their word on a port is the
latest here, too: one that a client has now is no service's any more, as are the ephemeral ports that services have for a single
connection (FTP, RPC). Where it is so of both ends or of none, something else decides. Of both, with the other end on another
host, whose listeners are not known: the local one is the service's; else the endpoint that occurs more often, then the smaller
port. Of none, the service is on another host, or ended before we came: the local side is the client's, unless the remote port
is an ephemeral one and the local one is not; when both are, the endpoint that occurs more often is the service's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.ports import EphemeralPorts
from tracer.ingest.served import ServedPorts, codes_of
from tracer.ingest.sets import is_among, unique
from tracer.ingest.sockdiag import Sockets
from tracer.model.columns import PORT_BITS, Columns, Mask, key
from tracer.model.tcp import STATE


def server_sides(sockets: Sockets, at: Columns, ephemeral: Ephemeral, served: ServedPorts | None = None) -> Mask:
    """Return which sockets are the service's side, shape (n,); see the top. served: takes in who listens in this dump, too."""
    served = served or ServedPorts()
    listeners = sockets[sockets["state"] == STATE["listen"]]
    served.note(codes_of(listeners["netns"], listeners["local_port"]))
    local, remote = (
        is_among(codes_of(sockets["netns"], sockets[port]), served.codes) for port in ("local_port", "remote_port")
    )
    server: Mask = (local & ~remote) | (~local & ~remote & ~ephemeral.local & ephemeral.remote)
    both = np.flatnonzero(local & remote)
    if len(both):
        here = _is_here(at, both)
        server[both[~here]], both = True, both[here]
    more = _how_much_more_often(at, both)
    server[both] = (more > 0) | ((more == 0) & (at.local_port < at.remote_port)[both])
    none = np.flatnonzero(~local & ~remote & ephemeral.local & ephemeral.remote)
    server[none] = _how_much_more_often(at, none) > 0
    return server


def _is_here(at: Columns, rows: NDArray[np.intp]) -> Mask:
    """Return whether the remote address is one of the namespace's own, of these sockets; shape (rows,)."""
    nowhere = np.uint64(0)
    own = unique(key(at.place, at.local, nowhere * at.local))
    return is_among(key(at.place[rows], at.remote[rows], nowhere * at.remote[rows]), own)


def _how_much_more_often(at: Columns, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return how much more often each local endpoint occurs than the remote one, among these sockets; shape (rows,)."""
    ends = [
        key(at.place[rows], address[rows], port[rows])
        for address, port in ((at.local, at.local_port), (at.remote, at.remote_port))
    ]
    counts = []
    for end in ends:
        different, count = np.unique(end, return_counts=True)
        counts.append(count[np.searchsorted(different, end)])
    return counts[0] - counts[1]


@dataclass(frozen=True)
class Ephemeral:
    """Which sockets have a local, or a remote, port out of their namespace's ephemeral ones; each of shape (n,)."""

    local: Mask
    remote: Mask


def ephemeral_ports(at: Columns, ports: Mapping[int, EphemeralPorts]) -> Ephemeral:
    """Return which ports are ephemeral; of other hosts it is guessed that they have the same range."""
    rows = {range_: row for row, range_ in enumerate(dict.fromkeys(ports.values()))}  # most namespaces have the same one
    table = np.zeros((max(len(rows), 1), 1 << PORT_BITS), bool)
    for row, range_ in zip(table, rows, strict=False):
        row[range_.low : range_.high + 1] = True
        row[list(range_.reserved)] = False
    row_of = np.array([rows[range_] for range_ in ports.values()] or [0])[at.place]
    return Ephemeral(table[row_of, at.local_port], table[row_of, at.remote_port])
