"""Snapshots of all sockets, taken again and again by a thread of its own, so that the ring never waits for them.

A dump of 200,000 sockets takes a tenth of a second; in the thread that drains the ring that would be a tenth in which it fills.
The pipeline adds the latest snapshot to each reading of the kernel. So this stands to the right of both what reads sockets
(ingest) and what sums them up (model).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from tracer.errors import TcptraceError
from tracer.ingest.memory import give_back
from tracer.ingest.namespaces import Namespaces
from tracer.ingest.snapshot import Snapshot
from tracer.model.sockets import Summarizer

INTERVAL_SECONDS = 1.0
"""Between two snapshots while somebody looks. One of few sockets takes five milliseconds, most of them for the kernel's way
through its empty table, which is half a percent of a core."""

UNSEEN_SECONDS = 15.0
"""The same while nobody looks; whoever does has a new one made (refresh())."""

PATIENCE_SECONDS = 0.25
"""How long somebody who looks waits for a new one; one that takes longer is shown at the next look."""

SHARE, PLAIN_SHARE = 0.01, 0.005
"""Of one core, what snapshots may take at most: a longer one is followed by a longer pause. Those with figures of open
connections, for which the kernel takes each socket's lock, have a share of their own, and so have plain ones in between."""


MANY_SOCKETS = 10_000
"""From so many on the memory of a dump goes back to the system at once, a hundred bytes a socket, and not in some seconds."""


def pause_seconds(spent: float, cpu: float, share: float = SHARE) -> float:
    """Return how long to wait after a snapshot that took so long by the clock, and of a processor, for such a share."""
    return max(INTERVAL_SECONDS, cpu / share) - min(spent, INTERVAL_SECONDS / 2)


class Turns:
    """When the next snapshot is due, and whether it is a plain one: those with figures, and plain ones, have a share each.

    A snapshot with figures counts the sockets, too, so that where these take little time there are no plain ones.
    """

    def __init__(self) -> None:
        self.due = 0.0
        self._figures_due = self._plain_due = 0.0

    def is_plain(self, now: float) -> bool:
        """Say whether a snapshot that begins now is to be plain."""
        return now < self._figures_due

    def taken(self, start: float, end: float, cpu: float) -> None:
        """Note that a snapshot was taken, by the clock of is_plain(), and what it took of a processor."""
        if self.is_plain(start):
            self._plain_due = end + pause_seconds(end - start, cpu, PLAIN_SHARE)
        else:
            pause = pause_seconds(end - start, cpu)
            self._figures_due = end + pause
            self._plain_due = max(self._plain_due, end + min(pause, INTERVAL_SECONDS))
        self.due = max(min(self._plain_due, self._figures_due), end)


class Watch:
    """The latest Snapshot, published by a thread between start() and close().

    namespaces: what is read, which others close. every: seconds from one to the next, where nobody asks.
    errors: how many snapshots have failed; each is followed by another try, and the latest one grows older meanwhile.
    complain: is told every error that is not the last one over again. apart: what a snapshot is taken in, see Places.
    """

    def __init__(
        self,
        namespaces: Namespaces,
        summarize: Summarizer,
        complain: Callable[[TcptraceError], None] = lambda _: None,
        every: float = INTERVAL_SECONDS,
        apart: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.latest: Snapshot | None = None
        self.errors = 0
        self._said = ""
        self._namespaces = namespaces
        self._summarize = summarize
        self._complain = complain
        self._every = every
        self._apart = apart
        self._turns = Turns()
        self._next = 0.0
        self._asked = self._stopped = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="sockets", daemon=True)

    def start(self) -> None:
        """Take the first snapshot now, and go on until closed; to be called unprivileged, as the thread inherits that."""
        self._thread.start()

    def refresh(self) -> None:
        """Have a snapshot taken where there was none in the last second, and wait for it a moment; for any thread but its own.

        One that takes long has its turn later, as its share of a core wants it.
        """
        with self._changed:
            if self._stopped or time.monotonic() < self._turns.due:
                return
            self._asked = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._asked or self._stopped, PATIENCE_SECONDS)

    def close(self) -> None:
        """Wait for the snapshot under way, and take no more; safe to call twice."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while self._wait():
            start, cpu = time.monotonic(), time.thread_time()
            try:
                self._namespaces.look()
                if not self._is_due(start):
                    continue
                if self._take(plain=self._turns.is_plain(start)) >= MANY_SOCKETS:
                    give_back()
            except Exception as error:  # noqa: BLE001 - whatever it was, the next one may succeed
                self._fail(error)
            with self._changed:
                now = time.monotonic()
                self._turns.taken(start, now, time.thread_time() - cpu)
                self._next, self._asked = start + self._every, False
                self._changed.notify_all()

    def _wait(self) -> bool:
        """Wait until there is something to do; return whether it goes on."""
        with self._changed:
            while not self._stopped and not self._is_due(now := time.monotonic()):
                due = self._turns.due if self._asked else max(self._turns.due, self._next)
                look_due = self._namespaces.look_due
                self._changed.wait(max(min(due, look_due) - now, 0))
                if time.monotonic() >= look_due:
                    break
            return not self._stopped

    def _is_due(self, now: float) -> bool:
        return now >= self._turns.due and (self._asked or now >= self._next)

    def _take(self, *, plain: bool) -> int:
        """Take a snapshot, and publish it, a plain one with the last figures that there were; return of how many sockets."""
        start = time.monotonic()
        with self._apart():
            dump = self._namespaces.read(plain=plain)
        snapshot = self._summarize(dump)
        if plain and self.latest:
            snapshot = replace(snapshot, figures=self.latest.figures)
        self.latest = replace(snapshot, duration_seconds=time.monotonic() - start, errors=self.errors)
        return len(dump.sockets)

    def _fail(self, error: Exception) -> None:
        """Count an error, and tell of it unless it is the last one again."""
        self.errors += 1
        if self.latest:
            self.latest = replace(self.latest, errors=self.errors)
        if str(error) != self._said:
            self._said = str(error)
            what = f"cannot count the sockets: {error}"
            self._complain(error if isinstance(error, TcptraceError) else TcptraceError(what, "it is tried again"))
