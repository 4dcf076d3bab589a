"""What ended connections have left, when there are more of them than are asked for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

import numpy as np

from tests.unit.model.builder import CONTEXT, events, reading
from tracer.ingest.remains import ASK_SECONDS, MAX_WAITING, RemainsSource
from tracer.ingest.sockettable import TimeWait
from tracer.model.tcp import STATE

if TYPE_CHECKING:
    from tracer.ingest.decode import Events
    from tracer.ingest.livesource import LiveSource
    from tracer.ingest.source import Reading


class Leaving:
    """A kernel in which connections end, and leave a TIME_WAIT each that is nearly over."""

    context = CONTEXT
    filling = None

    def __init__(self, *batches: Events) -> None:
        self._batches = list(batches)

    def read(self) -> Reading:
        return reading(self._batches.pop(0))

    def time_wait(self, _event: np.void) -> TimeWait:
        return TimeWait(STATE["time_wait"], 0.0)


def ended(first: int, count: int) -> Events:
    return events("close", count, flags=("time_wait",), connection=np.arange(first, first + count))


def test_one_that_takes_the_place_of_the_oldest_ends_nothing() -> None:
    source = RemainsSource(cast("LiveSource", Leaving(ended(1, MAX_WAITING), ended(1000, 2))), lambda _: None)
    first = source.read()
    time.sleep(2 * ASK_SECONDS)  # until each is to be asked for again
    second = source.read()
    assert first is not None
    assert second is not None
    assert [len(one.remains) for one in (first, second)] == [MAX_WAITING, 2]
