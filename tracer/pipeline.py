"""The way of the data, in one place: read this first.

    source.read() -> Reading -> model.add() -> model.report() -> Report -> outputs

A source is the ring of the running kernel (ingest/livesource.py) or a recording (ingest/recording.py). The model is pure
arithmetic on arrays (model/totals.py). A Report is a frozen snapshot, which the outputs turn into metrics, a table, lines or
JSON. Nothing flows back. A thread of its own counts sockets (watch.py); its latest snapshot is added to each reading of the
kernel. The readings of a recording have theirs.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Protocol

from tracer.ingest.memory import RETURN_SECONDS, forget_start, give_back
from tracer.ingest.source import Program, Reading, Source, Writes
from tracer.model.report import Report
from tracer.model.totals import Model
from tracer.watch import SHARE, Watch

POLL_SECONDS = 0.02
"""Between two looks where each record is shown as it comes: 4 MiB a CPU hold 11,915 records, four a connection, which is what a
CPU can make in ten times as long; so much is in hand for when this process does not run in time."""

IDLE_SECONDS = 1.0
"""The same where counts are shown: the programs wake the reader when the ring fills up, and a scrape looks at it first."""

UNSEEN_SECONDS = 5.0
"""The same where nobody looks at a screen: a look takes some milliseconds, which is most of what a quiet machine costs."""

STALE_SECONDS = 15.0
"""A source that was not read for so long is not drained; /healthz says so."""

STALE_SNAPSHOT_SECONDS = 60.0


class Pipeline:
    """Moves readings from a source into a model, and takes Reports from it; safe to call from several threads.

    One lock guards both ends, so that a Report never shows half a reading. It is held for as long as a batch takes (some
    10 ms) or a snapshot (copies of a few arrays); beyond that a scrape and the draining of the ring only have to share the
    interpreter, which outputs/web/scrapes.py sees to.

    watch: what counts the sockets of a running kernel, which this closes, as it does the source.
    """

    def __init__(self, source: Source, model: Model, recorder: Writes | None = None, watch: Watch | None = None) -> None:
        self._source = source
        self._model = model
        self._recorder = recorder
        self._watch = watch
        self._lock = threading.Lock()
        self._last_read = time.monotonic()
        self._ended = False
        self._attached: frozenset[str] = frozenset()
        self._lost: frozenset[str] = frozenset()
        self._stale = False

    def pump(self) -> Reading | None:
        """Move one reading, and return it; None when the source is at its end."""
        with self._lock:
            return self._pump()

    def report(self) -> Report:
        """Return a snapshot that includes everything up to now."""
        with self._lock:
            return self._model.report()

    def last_report(self) -> Report:
        """Return the snapshot at the end, in which nothing waits any more."""
        with self._lock:
            self._model.finish()
            return self._model.report()

    def fresh_report(self) -> Report:
        """Return a snapshot after one more look at the source, so that a scrape right after an event shows it.

        There is one before the sockets are counted, too: the records tell whose port it is on which nobody listens any more.
        """
        if self._watch:
            self._look()
            self._watch.refresh()
        self._look()
        return self.report()

    def _look(self) -> None:
        with self._lock:
            if not self._ended:
                self._pump()

    def healthy(self) -> bool:
        """Say whether the source is still being read, every program attached that ever was, and the sockets are counted."""
        return not self._ended and not self._lost and not self._stale and time.monotonic() - self._last_read < STALE_SECONDS

    def close(self) -> None:
        """Let go of the source; reports can still be taken."""
        with self._lock:
            self._ended = True
            if self._watch:
                self._watch.close()
            self._source.close()

    def _pump(self) -> Reading | None:
        # asked for first, so that all records from before the snapshot are in this reading
        snapshot = self._watch.latest if self._watch else None
        reading = self._source.read()
        self._last_read = time.monotonic()
        if reading is None:
            self._ended = True
        else:
            reading = replace(reading, snapshot=snapshot) if self._watch else reading
            self._model.add(reading)
            self._look_at(reading.programs)
            self._stale = is_stale(reading)
            if self._recorder:
                self._recorder.write(reading)
        return reading

    def _look_at(self, programs: tuple[Program, ...]) -> None:
        """Note what is attached; what this kernel lacks never was, and is no fault that a restart could mend."""
        attached = frozenset(program.name for program in programs if program.attached)
        self._attached |= attached
        self._lost = self._attached - attached if programs else frozenset()


def is_stale(reading: Reading) -> bool:
    """Say whether a snapshot is much older than the pauses between snapshots explain (watch.py)."""
    if reading.snapshot is None:
        return False
    age = (reading.time_ns - reading.snapshot.time_ns) / 1e9
    return age > STALE_SNAPSHOT_SECONDS + 2 * reading.snapshot.duration_seconds / SHARE


class StopRequest(Protocol):
    """A request to end, such as a threading.Event: asked, or waited for with a limit in seconds."""

    def is_set(self) -> bool:
        """Say whether there is one."""

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep until there is one, or the time is over; return whether there is one."""


def ticks(stop: StopRequest, duration: float | None, pause: Callable[[], float]) -> Iterator[float]:
    """Yield the elapsed seconds until stop is set or `duration` is over, sleeping in between for as long as pause says."""
    start = time.monotonic()
    while not stop.is_set() and (duration is None or time.monotonic() - start < duration):
        yield time.monotonic() - start
        every = pause()
        remaining = every if duration is None else min(every, start + duration - time.monotonic())
        stop.wait(max(remaining, 0))


def drain(
    pipeline: Pipeline,
    stop: StopRequest,
    duration: float | None,
    show: Callable[[Report], None],
    every_tick: Callable[[], None] = lambda: None,
    pause: Callable[[], float] = lambda: IDLE_SECONDS,
    look_within: Callable[[], float] = lambda: math.inf,
) -> None:
    """Pump until stopped; call show with a Report about once in a pause or a second, every_tick after each look at the source.

    pause: seconds until the next look, fewer where something else ends stop.wait(), or where look_within says so.
    """
    shown = returned = 0.0
    forget_start()
    for elapsed in ticks(stop, duration, lambda: min(pause(), look_within())):
        pipeline.pump()
        if elapsed - shown >= max(pause(), IDLE_SECONDS):
            shown = elapsed
            show(pipeline.report())
        if elapsed - returned >= RETURN_SECONDS:
            returned = elapsed
            give_back()
        every_tick()
    pipeline.fresh_report()
