"""The records of the last readings, for the ladders of the live view."""

from __future__ import annotations

from collections import deque

from tracer.ingest.decode import Events
from tracer.ingest.source import Reading, Writes

RECORDS_KEPT = 8192
"""They take 4 MB."""


class Latest:
    """The records of the last readings, for the ladders of the live view; as many as are kept. onto: what gets all, too."""

    def __init__(self, onto: Writes | None = None) -> None:
        self._onto = onto
        self._batches: deque[Events] = deque()
        self._records = 0

    @property
    def batches(self) -> tuple[Events, ...]:
        """What is kept, the oldest first; safe in another thread than the one that writes."""
        return tuple(self._batches)

    def write(self, reading: Reading) -> None:
        """Keep the records of a reading, and let go of the oldest."""
        if self._onto:
            self._onto.write(reading)
        if not len(reading.events):
            return
        batch = reading.events[-RECORDS_KEPT:]
        self._batches.append(batch if len(batch) == len(reading.events) else batch.copy())
        self._records += len(batch)
        while self._records > RECORDS_KEPT:
            self._records -= len(self._batches.popleft())
