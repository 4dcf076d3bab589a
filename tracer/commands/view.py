"""The live view on a terminal; or, when it is asked for and there is no terminal, its last picture."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from contextlib import ExitStack
from typing import Self

from tracer.commands.latest import Latest
from tracer.commands.lineview import LineView
from tracer.commands.screen import Screen
from tracer.commands.session import Stop
from tracer.commands.terminal import STDERR, Terminal, is_usable
from tracer.model.history import History, history
from tracer.model.report import Report
from tracer.model.spans import Spans
from tracer.outputs.live.frame import frame
from tracer.outputs.live.keys import ViewState
from tracer.outputs.live.styled import plain
from tracer.outputs.live.window import SINCE_START
from tracer.pipeline import IDLE_SECONDS, POLL_SECONDS

STDIN = 0
PRINTED_SIZE = (80, 60)


class View(LineView):
    """One of both."""

    def __init__(self, stop: Stop, *, color: bool | None = None, latest: Latest | None = None) -> None:
        super().__init__(stop, color=not os.environ.get("NO_COLOR") if color is None else color, latest=latest)
        self._screen: Screen | None = None
        self._history: History | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Take the screen, when there is one to take; what is said on standard error meanwhile follows at the end."""
        if is_usable(STDERR):
            with ExitStack() as stack:
                said = io.StringIO()
                stack.callback(lambda: print(said.getvalue(), end="", file=sys.stderr, flush=True))
                stack.enter_context(contextlib.redirect_stderr(said))
                terminal = stack.enter_context(contextlib.closing(Terminal(STDERR, STDIN)))
                self.stop.before_exit = terminal.give_back
                self.stop.wake_on(terminal.events)
                self._screen = stack.enter_context(Screen(terminal, color=bool(self.color)))
                self._stack = stack.pop_all()
        return self

    @property
    def spans(self) -> Spans | None:
        """What is known of the last ten minutes."""
        return self._history.spans if self._history else None

    def pause(self) -> float:
        """Return the seconds after which poll() is to be called again; keys and signals end the wait before."""
        return POLL_SECONDS if self._screen and self._screen.unfinished else IDLE_SECONDS

    def show(self, report: Report) -> None:
        """Show one more Report."""
        self._history = history(report, self._history, self.latest.batches)
        if self._screen:
            self._screen.show(self._history)

    def say(self, what: str, hint: str) -> None:
        """Say what has happened: beside the figures, or on standard error with a hint."""
        if self._screen:
            self._screen.mark(what)
        else:
            super().say(what, hint)

    def poll(self) -> None:
        """Look at the keyboard, and whether the terminal is still there; to be called often."""
        if self._screen is None:
            return
        if self._screen.poll():
            self.stop.set()
        if self._screen.gone:
            self.stop.hang_up()

    def __exit__(self, *_: object) -> None:
        """Give the screen back as it was."""
        if not self._screen and self._history:
            *lines, _keys = frame(ViewState(span=SINCE_START), self._history, *PRINTED_SIZE)
            print("\n".join(plain(line).rstrip() for line in lines).rstrip(), file=sys.stderr, flush=True)
        self._stack.close()
