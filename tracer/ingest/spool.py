"""What stands between the thread that drains the ring and a disk: compression and writing are a thread's of their own.

A disk that stalls for a while costs memory, MOST_BYTES at most; then the draining waits, the ring fills up, and the programs
count what finds no room. What goes wrong in the thread is raised where the next reading is handed in.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from tracer.ingest.figures import Figures
from tracer.ingest.recorder import figures_of
from tracer.ingest.source import Reading, Writes

MOST_BYTES = 64 << 20


class Spool:
    """Hands readings on to what writes them, in its own thread. end: called behind the last one; flush: when none waits."""

    def __init__(self, onto: Writes, flush: Callable[[], None], end: Callable[[], None] = lambda: None) -> None:
        self._onto = onto
        self._flush = flush
        self._end = end
        self._readings: deque[tuple[Reading, int]] = deque()
        self._figures: Figures | None = None
        self._bytes = 0
        self._ending = False
        self._error: Exception | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="recording", daemon=True)
        self._thread.start()

    def write(self, reading: Reading) -> None:
        """Take a reading; raises what writing an earlier one has raised."""
        with self._changed:
            self._changed.wait_for(lambda: self._bytes < MOST_BYTES or self._error is not None)
            self._raise()
            size = self._size(reading)
            self._readings.append((reading, size))
            self._bytes += size
            self._changed.notify_all()

    def close(self) -> None:
        """Wait until all is written; raises what that has raised. Safe to call twice."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self._thread.join()
        self._raise()

    def _size(self, reading: Reading) -> int:
        """Return what a reading takes beyond the ones before it: figures of the open connections are in several."""
        last, self._figures = self._figures, figures_of(reading)
        return reading.records.nbytes + (self._figures.nbytes if self._figures and self._figures is not last else 0)

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            self._bytes = 0
            raise error

    def _run(self) -> None:
        try:
            while (reading := self._next()) is not None:
                self._onto.write(reading)
            self._end()
            self._flush()
        except Exception as error:  # noqa: BLE001 - it is raised in the thread that can tell of it
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _next(self) -> Reading | None:
        """Return the next reading, None at the end; what was written is flushed before one is waited for."""
        if not self._readings:
            self._flush()
        with self._changed:
            self._changed.wait_for(self._has_work)
            return self._taken()

    def _has_work(self) -> bool:
        return bool(self._readings) or self._ending

    def _taken(self) -> Reading | None:
        if not self._readings:
            return None
        reading, size = self._readings.popleft()
        self._bytes -= size
        self._changed.notify_all()
        return reading
