"""The records of a recording that filters choose: what the programs do for a live command (bpf/filter.h), afterwards."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.decode import LAYOUT, Events
from tracer.ingest.sets import is_in
from tracer.ingest.source import Reading, Source
from tracer.kernel.filters import Filters, network_of

_SERVER = LAYOUT.enums["role"]["ROLE_SERVER"]
_ROLES = {"client": LAYOUT.enums["role"]["ROLE_CLIENT"], "server": _SERVER}


class Chosen:
    """A source with the chosen records of another one; the process of a filter need not be there any more.

    What was counted without a record (the counters), the sockets and the kernel's counters are those of all connections, and
    are left out: only records can be chosen afterwards.
    """

    def __init__(self, source: Source, filters: Filters) -> None:
        self.context = source.context
        self._source = source
        self._filters = filters

    def read(self) -> Reading | None:
        """Return the next reading, None at the end; raises what the source raises."""
        reading = self._source.read()
        if reading is None:
            return None
        records = reading.records[is_chosen(reading.records, self._filters, self.context.netns)]
        return replace(reading, records=records, cells=_losses(reading.cells), snapshot=None, kernel_counts=None)

    def close(self) -> None:
        """Close the source."""
        self._source.close()


def is_chosen(events: Events, filters: Filters, own_netns: int) -> NDArray[np.bool_]:
    """Return which records, shape (n,), the filters choose; own_netns: tcptrace's own when it recorded."""
    chosen = np.ones(len(events), bool)
    if filters.ports:
        port = np.where(events["role"] == _SERVER, events["local_port"], events["remote_port"])
        chosen &= is_in(port, filters.ports)
    if filters.addresses:
        chosen &= np.logical_or.reduce([_is_within(events, text) for text in filters.addresses])
    if filters.role:
        chosen &= events["role"] == _ROLES[filters.role]
    if filters.pid is not None:
        chosen &= events["pid"] == filters.pid
    if filters.own_netns:
        chosen &= events["netns"] == own_netns
    return chosen


def _is_within(events: Events, text: str) -> NDArray[np.bool_]:
    """Return which records have an address of the network on either side."""
    network = network_of(text)
    mask, value = (np.frombuffer(address.packed, np.uint8) for address in (network.netmask, network.network_address))
    found: NDArray[np.bool_] = np.logical_or.reduce(
        [((events[side] & mask) == value).all(axis=1) for side in ("local_address", "remote_address")]
    )
    return found


def _losses(cells: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the counters of what was lost alone: by whatever filter, it may have been among the chosen."""
    kept = np.zeros_like(cells)
    for name in ("EVENTS_LOST", "UNTRACKED", "EVENTS_REFUSED", "UNREACHED"):
        cell = LAYOUT.enums["counter"][f"COUNTER_{name}"]
        kept[cell] = cells[cell]
    return kept
