"""A recording as a source: opened with the caller's permissions, parsed unprivileged, filtered, and at the pace of then."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tracer.commands.session import complain, give_up_privileges
from tracer.errors import TcptraceError
from tracer.ingest.chosen import Chosen
from tracer.ingest.recording import RecordedSource
from tracer.ingest.source import Reading, Source
from tracer.kernel.callersfile import open_to_read
from tracer.kernel.filters import Filters
from tracer.kernel.privileges import unprivileged_user
from tracer.pipeline import StopRequest

STDIN = Path("-")


def become_unprivileged() -> None:
    """Drop all privileges before the recording of a stranger is parsed; root becomes who called sudo, or nobody.

    Root that cannot become another user (in a container without CAP_SETUID) goes on as it is, and says so.
    """
    try:
        give_up_privileges(unprivileged_user(None))
    except TcptraceError as error:
        complain(error)


def choose(source: Source, filters: Filters) -> Source:
    """Return a recording's source with what the filters choose; as it is without filters."""
    return source if filters == Filters() else Chosen(source, filters)


def open_recording(path: Path) -> RecordedSource:
    """Return the source of a file, or of standard input; raises TcptraceError when it cannot be read."""
    try:
        file = sys.stdin.buffer if path == STDIN else open_to_read(path)
    except OSError as error:
        raise TcptraceError(f"cannot read {path}: {error.strerror}", "give a file made by 'tcptrace record -o FILE'") from error
    try:
        return RecordedSource(file, "standard input" if path == STDIN else str(path))
    except TcptraceError:
        file.close()
        raise


def require(recorded: RecordedSource, path: Path, what: str) -> None:
    """Raise TcptraceError when a recording does not have what was to be asked of the programs."""
    if what not in recorded.context.asked:
        raise TcptraceError(
            f"{path} was recorded without --{what}", f"record with 'tcptrace record --{what} -o FILE' to see that"
        )


class Pace:
    """When readings are due: as fast as they came then, times speed; at once when speed is None."""

    def __init__(self, speed: float | None) -> None:
        self._speed = speed
        self._began = time.monotonic()
        self._first_ns: int | None = None

    def wait_for(self, reading: Reading) -> float:
        """Return the seconds until a reading is due, 0 where it is."""
        if not self._speed:
            return 0.0
        self._first_ns = reading.time_ns if self._first_ns is None else self._first_ns
        return max(self._began + (reading.time_ns - self._first_ns) / 1e9 / self._speed - time.monotonic(), 0.0)


class Paced:
    """A source whose readings come when they are due."""

    def __init__(self, source: Source, speed: float | None, stop: StopRequest) -> None:
        self.context = source.context
        self._source = source
        self._pace = Pace(speed)
        self._stop = stop

    def read(self) -> Reading | None:
        """Return the next reading when its time has come, None at the end; raises what the source raises."""
        reading = self._source.read()
        if reading is not None and (seconds := self._pace.wait_for(reading)):
            self._stop.wait(seconds)
        return reading

    def close(self) -> None:
        """Close the source."""
        self._source.close()
