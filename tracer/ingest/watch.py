"""Snapshots of all sockets, taken again and again by a thread of its own, so that the ring never waits for them.

A dump of 200,000 sockets takes a tenth of a second; in the thread that drains the ring that would be a tenth in which it fills.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from tracer.errors import TcptraceError
from tracer.ingest.clock import kernel_ns
from tracer.ingest.ports import EphemeralPorts, read_ports
from tracer.ingest.snapshot import Dump, Moment, Snapshot
from tracer.ingest.sockdiag import ALL_STATES, SocketEnds, joined
from tracer.ingest.sockettable import SocketTable, TimeWait
from tracer.kernel.namespaces import Door

INTERVAL_SECONDS = 1.0
SHARE = 0.02
"""Of one core, what snapshots may take at most: a longer one is followed by a longer pause."""


def pause_seconds(spent: float, cpu: float) -> float:
    """Return how long to wait after a snapshot that took so long by the clock, and of a processor."""
    return max(INTERVAL_SECONDS, cpu / SHARE) - min(spent, INTERVAL_SECONDS / 2)


class Namespaces:
    """The sockets and ephemeral ports of several network namespaces; owns their doors."""

    def __init__(self, doors: Sequence[Door]) -> None:
        self._ports = {door.netns: (door.port_range, door.reserved_ports) for door in doors}
        self._tables = [SocketTable(door.diag, door.netns) for door in doors]

    def read(self, states: int = ALL_STATES) -> Dump:
        """Return all sockets in these states (bits); raises TcptraceError when a namespace cannot be read."""
        start_ns = kernel_ns()
        moments, parts = [], []
        for table in self._tables:
            before_ns = kernel_ns()
            parts.append(table.read(states))
            if table.whole:
                moments.append(Moment(table.netns, before_ns, kernel_ns()))
        return Dump(joined(parts), self.ports(), start_ns, kernel_ns(), tuple(moments))

    def ports(self) -> dict[int, EphemeralPorts]:
        """Return the present ephemeral ports by namespace, the own one first."""
        return {netns: read_ports(*files) for netns, files in self._ports.items()}

    def read_last_heard(self, states: int) -> dict[int, float]:
        """Return the seconds since the other side was heard, by inode, of the sockets in these states."""
        return {inode: age for table in self._tables for inode, age in table.read_last_heard(states).items()}

    def time_wait(self, event: np.void) -> TimeWait | None:
        """Return what the connection of a record (dtype EVENT) has left behind: None if nothing, or where no door leads.

        Asks for that one socket only; raises TcptraceError when the kernel refuses. Not beside a running Watch.
        """
        ends = SocketEnds(
            event["local_address"].tobytes(),
            int(event["local_port"]),
            event["remote_address"].tobytes(),
            int(event["remote_port"]),
        )
        for table in self._tables:
            if table.netns == event["netns"]:
                return table.time_wait(int(event["family"]), ends)
        return None

    def close(self) -> None:
        """Close all that is open."""
        for table in self._tables:
            table.close()
        for files in self._ports.values():
            for fd in files:
                os.close(fd)
        self._tables, self._ports = [], {}


class Watch:
    """The latest Snapshot, published by a thread between start() and close().

    summarize: makes it of a dump. complain: is told the first error; the snapshot then only grows older.
    """

    def __init__(
        self,
        namespaces: Namespaces,
        summarize: Callable[[Dump], Snapshot],
        complain: Callable[[TcptraceError], None] = lambda _: None,
    ) -> None:
        self.latest: Snapshot | None = None
        self._namespaces = namespaces
        self._summarize = summarize
        self._complain = complain
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sockets", daemon=True)

    def start(self) -> None:
        """Take the first snapshot now, and go on until closed; to be called without rights, which a thread would inherit."""
        self._thread.start()

    def close(self) -> None:
        """Wait for the snapshot under way, and close what it is read from; safe to call twice."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._namespaces.close()

    def _run(self) -> None:
        pause = 0.0
        while not self._stop.wait(pause):
            start, cpu = time.monotonic(), time.thread_time()
            try:
                snapshot = self._summarize(self._namespaces.read())
                self.latest = replace(snapshot, duration_seconds=time.monotonic() - start)
            except TcptraceError as error:
                self._complain(error)
                self._complain = lambda _: None
            pause = pause_seconds(time.monotonic() - start, time.thread_time() - cpu)
