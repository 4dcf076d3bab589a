"""The live view on a terminal: draws the lines that have changed, and passes keys on to the state they change.

Everything happens in the thread that drains the ring, between two looks at it, so that nothing has to be guarded; and nothing
here waits. (rich's Live redraws everything, knows no keys, and cost 5 MB.)
"""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from types import FrameType
from typing import Self

from tracer.commands.terminal import Terminal
from tracer.model.history import History
from tracer.outputs.live.frame import frame
from tracer.outputs.live.keys import ViewState, keys, press
from tracer.outputs.live.styled import encoded


class Screen:
    """A terminal with the live view on it, between __enter__ and __exit__."""

    def __init__(self, terminal: Terminal, *, color: bool) -> None:
        self._terminal = terminal
        self._color = color
        self._state = ViewState()
        self._history: History | None = None
        self._typed = ""
        self._drawn: list[str] = []
        self._size = (0, 0)
        self._stale = True
        self._suspend = self._resumed = False
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        """Take the terminal."""
        for number in (signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH):
            self._previous[number] = signal.signal(number, self._notice)
        self._terminal.take()
        self.poll()
        return self

    def __exit__(self, *_: object) -> None:
        """Let the signals mean what they meant; the terminal is given back by who closes it."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def show(self, history: History) -> None:
        """Show what is new from now on."""
        self._history = history
        self._stale = self._stale or self._state.paused is None
        self.poll()

    def mark(self, what: str) -> None:
        """Show a few words beside the figures from now on."""
        self._state = replace(self._state, mark=what)
        self._stale = True

    @property
    def gone(self) -> bool:
        """Say whether the terminal was closed."""
        return self._terminal.gone

    @property
    def unfinished(self) -> bool:
        """Say whether poll() has more to do soon: half a key was typed, or the terminal takes no more for now."""
        return bool(self._typed) or self._stale or self._terminal.busy

    def poll(self) -> bool:
        """Do what keys, signals and the terminal's size ask for; return whether the user has asked to quit."""
        if self._suspend:
            self._stop_until_continued()
        if self._resumed:
            self._resumed = False
            self._terminal.take()
            self._forget()
        self._type()
        if self._terminal.size() != self._size:
            self._forget()
        self._terminal.flush()
        if self._stale and not self._terminal.busy:
            self._draw()
        return self._state.done

    def _notice(self, number: int, _frame: FrameType | None) -> None:
        self._suspend |= number == signal.SIGTSTP
        self._resumed |= number == signal.SIGCONT
        self._terminal.wake()

    def _stop_until_continued(self) -> None:
        """Do what Ctrl-Z does, with the terminal in order; nothing is drained meanwhile."""
        self._suspend = False
        self._terminal.give_back()
        handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, handler)
        self._resumed = True

    def _forget(self) -> None:
        """Draw everything anew, on a terminal of which nothing is known any more."""
        self._size = self._terminal.size()
        self._drawn = []
        self._stale = True

    def _type(self) -> None:
        typed = self._terminal.read()
        pressed, self._typed = keys(self._typed + typed, complete=not typed)
        for key in pressed:
            self._state = press(self._state, key, self._history)
            self._stale = True

    def _draw(self) -> None:
        """Send the lines that have changed, in one piece."""
        self._stale = False
        width, height = self._size
        lines = [encoded(line, width, color=self._color) for line in frame(self._state, self._history, width, height)]
        lines += [" " * width] * (height - len(lines))
        clear = "" if self._drawn else "\x1b[2J"
        before = self._drawn or [""] * height
        changed = [f"\x1b[{row};1H{new}" for row, (new, old) in enumerate(zip(lines, before, strict=True), 1) if new != old]
        self._drawn = lines
        if changed:
            self._terminal.write(clear + "".join(changed))
