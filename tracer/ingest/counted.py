"""What the kernel has counted by itself: connections of busy places that have no records (bpf/tally.h).

A place is a service: a server's own address and port, or a client's address and the service's address and port. Where many
connections come to one, a record for each costs more than all else. So what all of them have in common is added up in the
kernel: those whose handshake was timed, and that ended in order. Everything else has records as ever.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracer.kernel.layout import parse_tables
from tracer.kernel.shipped import read_source

TABLES = parse_tables(read_source("places.h"), "places.h")

PLACE = np.dtype(
    [("netns", "=u4"), ("port", "=u2"), ("role", "u1"), ("reserved", "u1"), ("local", "u1", (16,)), ("remote", "u1", (16,))]
)
"""The beginning of struct place in bpf/places.h. port: the service's. role: as in records. remote: 0 of a server.

IPv4 addresses as ::ffff:a.b.c.d.
"""

BUCKETS = TABLES.enums["tally_limit"]["TALLY_BUCKETS"]
"""The buckets of model/histogram.py that the kernel has, the first ones; what lies above has a record."""

TIMED_STATES = 12
"""Length of event.state_ns."""


@dataclass(frozen=True)
class Times:
    """Histograms side by side, one a row. counts: shape (rows, BUCKETS), uint64; sums: nanoseconds, shape (rows,), uint64.

    most: the largest since the place is busy, nanoseconds, shape (rows,), uint64: it may have come before these.
    """

    counts: NDArray[np.uint64]
    sums: NDArray[np.uint64]
    most: NDArray[np.uint64]


@dataclass(frozen=True)
class Counted:
    """What has come since the last look, of n places, each there once.

    time_ns: up to when, CLOCK_MONOTONIC. places: shape (n,), dtype PLACE. handshakes: their times, as many as there were
    handshakes. durations: of connections that ended normally, as many as ended. srtt: of those that had one. time_waits: those
    that left a timewait object, shape (n,), uint64. figures: what those that ended have carried in all, shape
    (n, len(FIGURES)), uint64, as FIGURES has them (figures.py). states: times in each state of those that ended, of all places,
    a row a state.
    No end is counted whose connection a dump of sockets can have found, nor one whose handshake was not.
    """

    time_ns: int
    places: NDArray[np.void]
    handshakes: Times
    durations: Times
    srtt: Times
    time_waits: NDArray[np.uint64]
    figures: NDArray[np.uint64]
    states: Times
