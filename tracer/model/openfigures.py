"""The open connections of a dump with their figures, as arrays; and the number by which records and dumps know a connection."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.figures import OPEN, Figures
from tracer.ingest.hashes import hashed, share
from tracer.ingest.openrows import OpenRows
from tracer.ingest.snapshot import Dump
from tracer.ingest.sockdiag import Sockets
from tracer.ingest.tcpinfo import Details
from tracer.ingest.transposed import RecordColumns, words_of
from tracer.kernel.filters import Filters
from tracer.model.columns import Mask
from tracer.model.evidence import Look, evidence, fin_received, sending_bytes, unread_bytes
from tracer.model.openlist import largest_rows
from tracer.model.openservices import chosen_connections
from tracer.model.tcp import ROLE, STATE
from tracer.model.why import NO_RULE, verdicts

Keys = NDArray[np.uint64]


def ends_key(of: RecordColumns) -> Keys:
    """Return the namespace and both ends of records or sockets as one number each, shape (n,); recordings have them, too."""
    ends = (*words_of(of, "local_address"), *words_of(of, "remote_address"))
    return hashed(of["netns"], of["local_port"], of["remote_port"], *ends)


def place_key(of: RecordColumns, keys: Keys, *, server: bool) -> Keys:
    """Return the same without what differs from one connection of a service to the next.

    keys: of ends_key(). server: whether these are the service's side, where that is the other end; else it is the own port.
    """
    if not server:
        return keys - share(of["local_port"], 1)
    words = words_of(of, "remote_address")
    return keys - share(of["remote_port"], 2) - share(words[0], 5) - share(words[1], 6)


class Looks:
    """The last look at the open connections, for what takes two. kept: of how many a Figures has the rows as they are."""

    def __init__(self, kept: int = 0) -> None:
        self.kept = kept
        self._last: Look | None = None

    def then(self, sockets: Sockets, details: Details, server: Mask, end_ns: int) -> OpenRows | None:
        """Return these connections with what the last look had of them, None at the first one, and keep this look."""
        last, self._last = self._last, Look(sockets, details, end_ns)
        return last.then(sockets, details, server, end_ns) if last else None


def open_figures(dump: Dump, server: Mask, filters: Filters, looks: Looks) -> Figures | None:
    """Return the open connections that the filters let through, with figures; None where the kernel gave none.

    server: which sockets are the service's side, shape (n,). looks: the same one for each dump. Filters for a
    process or cgroup are not applied: see Figures.all.
    """
    if dump.plain or (not len(dump.details) and len(dump.sockets)):
        return None
    places = dump.details["place"].astype(np.intp)
    kept = chosen_connections(dump.sockets, server, filters, dump.own_netns)[places]
    details, places = dump.details[kept], places[kept]
    sockets, server = dump.sockets[places], server[places]
    table = _table(sockets, details, server)
    rows = looks.then(sockets, details, server, dump.end_ns)
    table["why"] = np.where(rows.known, verdicts(evidence(rows)), NO_RULE) if rows else NO_RULE
    whole = frozenset(moment.netns for moment in dump.moments)
    start_ns = min((moment.start_ns for moment in dump.moments), default=dump.end_ns)
    certain = filters.pid is None and filters.cgroup is None
    shown = largest_rows(rows, looks.kept) if rows and looks.kept and certain else None
    return Figures(table[np.argsort(table["cookie"])], whole, start_ns, dump.end_ns, certain, shown)


def _table(sockets: NDArray[np.void], details: NDArray[np.void], server: Mask) -> NDArray[np.void]:
    info = details["info"]
    table = np.zeros(len(sockets), OPEN)
    for name in ("cookie", "netns", "local_port", "remote_port", "remote_address", "family", "state"):
        table[name] = sockets[name]
    table["key"], table["cgroup"] = ends_key(sockets), details["cgroup"]
    table["role"] = np.where(server, ROLE["server"], ROLE["client"])
    for place, column in enumerate(_figures(info)):
        table["figures"][:, place] = column
    for place, column in enumerate((*sending_bytes(sockets, details), unread_bytes(sockets))):
        table["queues"][:, place] = column
    table["rtt_us"] = info["rtt_us"]
    return table


def _figures(info: NDArray[np.void]) -> tuple[NDArray[Any], ...]:
    """Return the columns of FIGURES; a FIN counts as a byte when it is acknowledged, and when it is received."""
    sent, received = info["acknowledged_bytes"], info["received_bytes"]
    return (
        sent - ((info["tcp_state"] == STATE["fin_wait2"]) & (sent > 0)),
        received - (fin_received(info["tcp_state"]) & (received > 0)),
        *(info[name] for name in ("sent_segments", "received_segments", "out_of_order_segments")),
        *(info[name] for name in ("busy_us", "window_limited_us", "buffer_limited_us")),
    )
