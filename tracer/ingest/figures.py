"""Open connections with their figures as a dump of all sockets has them: what a Snapshot carries for the model.

Arrays, since there may be hundreds of thousands. Recordings keep a few of them (figureframes.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.openrows import OpenRows

FIGURES = (
    *("sent_bytes", "received_bytes", "sent_segments", "received_segments"),
    *("out_of_order_segments", "busy_us", "window_limited_us", "buffer_limited_us"),
)
"""What only grows while a connection lives, in the order of OPEN's member figures. Records of ends have them, too,
times in milliseconds."""

QUEUES = ("unsent_bytes", "unacknowledged_bytes", "receive_queue_bytes")

OPEN = np.dtype(
    [
        ("cookie", "=u8"),
        ("key", "=u8"),
        ("cgroup", "=u8"),
        ("figures", "=u8", (len(FIGURES),)),
        ("queues", "=u4", (len(QUEUES),)),
        ("rtt_us", "=u4"),
        ("netns", "=u4"),
        ("local_port", "=u2"),
        ("remote_port", "=u2"),
        ("remote_address", "u1", (16,)),
        ("family", "u1"),
        ("role", "u1"),
        ("state", "u1"),
        ("why", "i1"),
    ]
)
"""One open connection. cookie: the socket's, never used again; key: both of its ends and its namespace as one number.

why: what it is slow by, a rule's number in model/why.py, NO_RULE (-1) for none.
sent_bytes: acknowledged ones, a client's SYN among them, as the role is a guess (model/sides.py). rtt_us: 0 is not known.
"""


@dataclass(frozen=True)
class Figures:
    """Open connections that are traced. table: shape (n,), dtype OPEN, sorted by cookie.

    start_ns, end_ns: when they were read, by the clock of the events.
    netns: namespaces of which it has all. all: whether it is certain that the filters let all of them through; if not,
    only those count whose beginning was traced.
    rows: the same connections as they are, of many the largest; None where no recording is made, or one look was taken, or the
    filters are not certain.
    """

    table: NDArray[np.void]
    netns: frozenset[int]
    start_ns: int
    end_ns: int
    all: bool = True
    rows: OpenRows | None = None

    @property
    def nbytes(self) -> int:
        """How much memory they take."""
        return self.table.nbytes + (self.rows.nbytes if self.rows else 0)
