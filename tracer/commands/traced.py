"""What a report takes of the running kernel: the readings of the next seconds, or those until a signal."""

from __future__ import annotations

from collections.abc import Callable

from tracer.commands.session import announce, stop_on_signals
from tracer.ingest.livesource import LiveSource
from tracer.ingest.source import Reading, Source
from tracer.pipeline import IDLE_SECONDS, ticks


def take_for(seconds: float, source: LiveSource, start: float, take: Callable[[Reading], None]) -> None:
    """Give the readings of a source to what takes them, and close it. start: time.monotonic() when the command began."""
    try:
        with stop_on_signals() as stop:
            stop.wake_on(source.filling)
            announce(start, f"tracing for {seconds:g} s; Ctrl-C ends it sooner", source.context.missing)
            for _ in ticks(stop, seconds, lambda: IDLE_SECONDS):
                _take(source, take)
            _take(source, take)
    finally:
        source.close()


def _take(source: Source, take: Callable[[Reading], None]) -> None:
    if (reading := source.read()) is not None:
        take(reading)
