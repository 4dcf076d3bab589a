"""Snapshots of all sockets, taken again and again by a thread of its own, so that the ring never waits for them.

A dump of 200,000 sockets takes a tenth of a second; in the thread that drains the ring that would be a tenth in which it fills.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from tracer.errors import TcptraceError
from tracer.ingest.namespaces import LOOK_SECONDS, Namespaces
from tracer.ingest.snapshot import Dump, Snapshot

INTERVAL_SECONDS = 1.0
SHARE = 0.01
"""Of one core, what snapshots may take at most: a longer one is followed by a longer pause."""


def pause_seconds(spent: float, cpu: float) -> float:
    """Return how long to wait after a snapshot that took so long by the clock, and of a processor."""
    return max(INTERVAL_SECONDS, cpu / SHARE) - min(spent, INTERVAL_SECONDS / 2)


class Watch:
    """The latest Snapshot, published by a thread between start() and close().

    summarize: makes it of a dump. errors: how many snapshots have failed; each is followed by another try, and the latest one
    grows older meanwhile. complain: is told every error that is not the last one over again.
    """

    def __init__(
        self,
        namespaces: Namespaces,
        summarize: Callable[[Dump], Snapshot],
        complain: Callable[[TcptraceError], None] = lambda _: None,
    ) -> None:
        self.latest: Snapshot | None = None
        self.errors = 0
        self._said = ""
        self.namespaces = namespaces
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
        self.namespaces.close()

    def _run(self) -> None:
        due = 0.0
        while not self._stop.wait(min(max(due - time.monotonic(), 0), LOOK_SECONDS)):
            start, cpu = time.monotonic(), time.thread_time()
            try:
                self.namespaces.look()
                if start < due:
                    continue
                self._take()
            except Exception as error:  # noqa: BLE001 - whatever it was, the next one may succeed
                self._fail(error)
            end = time.monotonic()
            due = end + pause_seconds(end - start, time.thread_time() - cpu)

    def _take(self) -> None:
        """Take a snapshot, and publish it."""
        start = time.monotonic()
        snapshot = self._summarize(self.namespaces.read())
        self.latest = replace(snapshot, duration_seconds=time.monotonic() - start, errors=self.errors)

    def _fail(self, error: Exception) -> None:
        """Count an error, and tell of it unless it is the last one again."""
        self.errors += 1
        if self.latest:
            self.latest = replace(self.latest, errors=self.errors)
        if str(error) != self._said:
            self._said = str(error)
            what = f"cannot count the sockets: {error}"
            self._complain(error if isinstance(error, TcptraceError) else TcptraceError(what, "it is tried again"))
