"""Connections that the kernel has counted by itself (ingest/counted.py), as the model takes them in: numbers, a place each.

What is counted for label sets asks records who they are of. So each place has one record that stands for all of its.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.counted import Counted
from tracer.ingest.decode import EVENT, Events
from tracer.model.tcp import KIND, ROLE

Numbers = NDArray[np.uint64]


@dataclass(frozen=True)
class ByCount:
    """What one look has of n places. records: one of a handshake for each place. opened, closed: connections, shape (n,)."""

    counted: Counted
    records: Events
    opened: Numbers
    closed: Numbers

    @classmethod
    def of(cls, counted: Counted) -> ByCount:
        """Return the same for the model."""
        opened, closed = (times.counts.sum(axis=1, dtype=np.uint64) for times in (counted.handshakes, counted.durations))
        return cls(counted, _records(counted.places), opened, closed)


def _records(places: NDArray[np.void]) -> Events:
    records = np.zeros(len(places), EVENT)
    records["kind"] = KIND["handshake"]
    for name, member in (("netns", "netns"), ("role", "role"), ("local_address", "local"), ("remote_address", "remote")):
        records[name] = places[member]
    server = places["role"] == ROLE["server"]
    records["local_port"] = np.where(server, places["port"], 0)
    records["remote_port"] = np.where(server, 0, places["port"])
    return records
