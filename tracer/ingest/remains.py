"""A source that asks the list of sockets what ended connections have left: TIME_WAIT, or FIN_WAIT2 of an orphan.

No tracepoint tells it. It is asked for at once, and again for as long as the peer's FIN is awaited; then for its end.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from tracer.errors import TcptraceError
from tracer.ingest.clock import kernel_ns
from tracer.ingest.decode import LAYOUT, Events
from tracer.ingest.livesource import LiveSource
from tracer.ingest.sockettable import TimeWait
from tracer.ingest.source import Reading, Remains

ASK_SECONDS = 0.1
"""Between two looks at what an ended connection has left, while the peer's FIN is still awaited."""

PATIENCE_SECONDS = 60.0
"""How long the peer's FIN is awaited after the end: as long as the kernel does (net.ipv4.tcp_fin_timeout)."""

END_SECONDS = 5.0
"""Between two looks at a TIME_WAIT at most: it ends before its time only when its ports are used again."""

MAX_WAITING = 256
"""Of which the peer's FIN is awaited, and as many of which the end of TIME_WAIT is: of more the last ones."""

_CLOSE = LAYOUT.enums["event_kind"]["EVENT_CLOSE"]
_LEFT = LAYOUT.enums["event_flag"]["FLAG_TIME_WAIT"]
_CLOSED = LAYOUT.enums["tcp_state"]["STATE_CLOSE"]
_TIME_WAIT = LAYOUT.enums["tcp_state"]["STATE_TIME_WAIT"]


@dataclass(frozen=True)
class Ended:
    """An ended connection that has left something: its last record, the state that was told, when to ask, until when."""

    event: np.void
    told: int
    ask: float
    until: float


class RemainsSource:
    """The kernel, whose readings also have what ended connections have left. plain: the kernel alone. Owns it."""

    def __init__(self, source: LiveSource, complain: Callable[[TcptraceError], None]) -> None:
        self.context = source.context
        self.filling = source.filling
        self.plain = source
        self._source = source
        self._complain = complain
        self._waiting: dict[int, Ended] = {}
        self._ending: OrderedDict[int, Ended] = OrderedDict()
        self._refused = False

    @property
    def waiting(self) -> int:
        """How many connections will be asked for again, because the peer's FIN is awaited."""
        return len(self._waiting)

    def hurry(self, seconds: float) -> None:
        """Wait no longer than so many seconds for those that are asked for."""
        until = time.monotonic() + seconds
        self._waiting = {number: replace(one, until=min(one.until, until)) for number, one in self._waiting.items()}

    def read(self) -> Reading | None:
        """Return what has come since the last call, and what ended connections have left by now."""
        reading = self._source.read()
        if reading is None:
            return None
        now = time.monotonic()
        self._note(reading.events, now)
        due = [number for number, waiting in self._waiting.items() if waiting.ask <= now]
        remains = [found for number in due for found in self._ask(number, now)]
        # not before: what was found just now may have taken the place of the oldest ones
        over = [number for number, waiting in self._ending.items() if waiting.ask <= now]
        remains += [found for number in over for found in self._ask_end(number, now)]
        return replace(reading, remains=tuple(remains))

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    def _note(self, events: Events, now: float) -> None:
        for event in events[(events["kind"] == _CLOSE) & (events["flags"] & _LEFT != 0) & (events["connection"] != 0)]:
            if len(self._waiting) < MAX_WAITING:
                self._waiting[int(event["connection"])] = Ended(event.copy(), 0, now, now + PATIENCE_SECONDS)

    def _ask(self, number: int, now: float) -> list[Remains]:
        waiting = self._waiting.pop(number)
        found = None if self._refused else self._look_up(waiting.event)
        if found is None:
            return self._gone(number) if waiting.told and not self._refused else []
        if found.state == _TIME_WAIT:
            self._await_end(number, waiting, found, now)
        if found.state != _TIME_WAIT and now < waiting.until:
            self._waiting[number] = replace(waiting, told=found.state, ask=now + ASK_SECONDS)
        return [Remains(number, found.state, found.seconds, kernel_ns())] if found.state != waiting.told else []

    def _await_end(self, number: int, waiting: Ended, found: TimeWait, now: float) -> None:
        self._ending[number] = replace(waiting, ask=now + min(found.seconds + ASK_SECONDS, END_SECONDS))
        if len(self._ending) > MAX_WAITING:
            self._ending.popitem(last=False)

    def _ask_end(self, number: int, now: float) -> list[Remains]:
        waiting = self._ending.pop(number)
        found = None if self._refused else self._look_up(waiting.event)
        if found:
            self._await_end(number, waiting, found, now)
        return [] if found or self._refused else self._gone(number)

    def _gone(self, number: int) -> list[Remains]:
        return [Remains(number, _CLOSED, 0.0, kernel_ns())]

    def _look_up(self, event: np.void) -> TimeWait | None:
        try:
            return self._source.time_wait(event)
        except TcptraceError as error:
            self._complain(error)
            self._refused = True
            return None
