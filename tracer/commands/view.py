"""What is shown while tracing goes on: the live view on a terminal, otherwise lines on standard error.

A line a second on a terminal, else one in five seconds: what goes to a file or a pipe is read later, and looking costs.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections import deque
from contextlib import ExitStack
from typing import Self

from tracer.commands.screen import Screen
from tracer.commands.session import Stop
from tracer.commands.terminal import STDERR, Terminal, is_usable
from tracer.ingest.decode import Events
from tracer.ingest.recorder import Writes
from tracer.ingest.source import Reading
from tracer.model.history import History, history
from tracer.model.report import Report
from tracer.model.spans import Spans
from tracer.outputs.lines import Point, interval, point
from tracer.outputs.live.frame import frame
from tracer.outputs.live.keys import ViewState
from tracer.outputs.live.styled import plain
from tracer.outputs.live.window import SINCE_START
from tracer.pipeline import IDLE_SECONDS, POLL_SECONDS, UNSEEN_SECONDS

STDIN = 0
PRINTED_SIZE = (80, 60)
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


class View:
    """One of three: the live view; lines; or, when the view is asked for and there is no terminal, its last picture.

    stop: what `q` sets. table: what --view and --no-view say. latest: what keeps records for it, if they are written to that.
    """

    def __init__(self, stop: Stop, *, table: bool | None, color: bool | None, latest: Latest | None = None) -> None:
        usable = is_usable(STDERR)
        self._stop = stop
        self._table = usable if table is None else table
        self._color = not os.environ.get("NO_COLOR") if color is None else color
        self._usable = usable
        self._on_terminal = os.isatty(STDERR)
        self._screen: Screen | None = None
        self._history: History | None = None
        self._previous: Point | None = None
        self._stack = ExitStack()
        self.latest = latest or Latest()

    def __enter__(self) -> Self:
        """Take the screen, when there is one to take; what is said on standard error meanwhile follows at the end."""
        if self._table and self._usable:
            with ExitStack() as stack:
                said = io.StringIO()
                stack.callback(lambda: print(said.getvalue(), end="", file=sys.stderr, flush=True))
                stack.enter_context(contextlib.redirect_stderr(said))
                terminal = stack.enter_context(contextlib.closing(Terminal(STDERR, STDIN)))
                self._stop.before_exit = terminal.give_back
                self._stop.wake_on(terminal.events)
                self._screen = stack.enter_context(Screen(terminal, color=self._color))
                self._stack = stack.pop_all()
        return self

    @property
    def spans(self) -> Spans | None:
        """What is known of the last ten minutes, None where nothing is drawn."""
        return self._history.spans if self._history else None

    def pause(self) -> float:
        """Return the seconds after which poll() is to be called again; keys and signals end the wait before."""
        if self._screen and self._screen.unfinished:
            return POLL_SECONDS
        return IDLE_SECONDS if self._table or self._on_terminal else UNSEEN_SECONDS

    def show(self, report: Report) -> None:
        """Show one more Report."""
        if not self._table:
            now = point(report)
            for line in interval(now, self._previous):
                print(line, file=sys.stderr, flush=True)
            self._previous = now
            return
        self._history = history(report, self._history, self.latest.batches)
        if self._screen:
            self._screen.show(self._history)

    def say(self, what: str, hint: str) -> None:
        """Say what has happened: beside the figures, or on standard error with a hint."""
        if self._screen:
            self._screen.mark(what)
        else:
            print(f"tcptrace: {what}; {hint}", file=sys.stderr, flush=True)

    def poll(self) -> None:
        """Look at the keyboard, and whether the terminal is still there; to be called often."""
        if self._screen is None:
            return
        if self._screen.poll():
            self._stop.set()
        if self._screen.gone:
            self._stop.hang_up()

    def __exit__(self, *_: object) -> None:
        """Give the screen back as it was."""
        if self._table and not self._screen and self._history:
            *lines, _keys = frame(ViewState(span=SINCE_START), self._history, *PRINTED_SIZE)
            print("\n".join(plain(line).rstrip() for line in lines).rstrip(), file=sys.stderr, flush=True)
        self._stack.close()
