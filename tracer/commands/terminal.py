"""A terminal taken for a full-screen view and given back as it was, in every way to end but SIGKILL: then `reset` restores it.

A process beside this one could do that, too; it would have to be started, confined and ended, for what nobody does to a view.
"""

from __future__ import annotations

import contextlib
import os
import select
import termios
from typing import Any

ENTER = b"\x1b[?1049h\x1b[?25l\x1b[2J"
LEAVE = b"\x1b[0m\x1b[?25h\x1b[?1049l"
"""Attributes off, cursor shown, normal screen: xterm's, which every terminal of today understands."""

STDERR = 2
PATIENCE_SECONDS = 1.0
"""How long the end may wait for a terminal that takes nothing (Ctrl-S, a broken line)."""


def is_usable(fd: int) -> bool:
    """Say whether a descriptor is a terminal that a view can be drawn on: one that moves its cursor, and in the foreground."""
    if not os.isatty(fd) or os.environ.get("TERM", "dumb") == "dumb":
        return False
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:  # not this session's terminal, so that there is no background to be in
        return True


def is_drawn(table: bool | None) -> bool:
    """Say whether there will be a live view: --view and --no-view, and a terminal for it."""
    return table is not False and is_usable(STDERR)


class Terminal:
    """The terminal behind a descriptor, and the keyboard behind another if that is a terminal as well.

    Nothing here waits for the terminal but give_back(): what it does not take at once is kept, and sent by flush().
    events: is ready when a key was typed, the terminal was closed, or wake() was called; edge-triggered.
    """

    def __init__(self, fd: int, keyboard: int) -> None:
        self._fd = fd
        self._keyboard = keyboard if os.isatty(keyboard) else None
        self._out = _unblocked(fd)
        self._hang_up = select.poll()
        self._hang_up.register(self._out, 0)
        self._woken = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.events = select.epoll()
        self.events.register(self._out, select.EPOLLET)
        for source in (self._woken, *([] if self._keyboard is None else [self._keyboard])):
            self.events.register(source, select.EPOLLET | select.EPOLLIN)
        self._pending = b""
        self._saved: list[Any] | None = None

    @property
    def taken(self) -> bool:
        """Say whether it is taken now."""
        return self._saved is not None

    def take(self) -> None:
        """Take it: no echo, keys one by one, the other screen; once more after something else has changed it."""
        if self._saved is None:
            self._saved = termios.tcgetattr(self._fd)
        with contextlib.suppress(termios.error):  # it is gone
            termios.tcsetattr(self._fd, termios.TCSANOW, _keys_one_by_one(self._saved))
        self._pending = ENTER
        self.flush()

    def give_back(self) -> None:
        """Leave it as it was; safe to call twice, and in a signal's handler that interrupts it at any moment.

        It counts as taken until all is done: a handler that ends the process does all of it once more.
        """
        if self._saved is None:
            return
        self._pending += LEAVE
        while self._pending and select.select([], [self._out], [], PATIENCE_SECONDS)[1] and self.flush():
            pass
        with contextlib.suppress(termios.error):  # it is gone, with whoever could be told
            termios.tcsetattr(self._fd, termios.TCSANOW, self._saved)
        self._saved = None

    def close(self) -> None:
        """Give it back, and let go of it."""
        self.give_back()
        self.events.close()
        os.close(self._woken)
        os.close(self._out)

    def wake(self) -> None:
        """Have whoever waits for events look; safe in a signal's handler."""
        os.eventfd_write(self._woken, 1)

    def size(self) -> tuple[int, int]:
        """Return columns and lines; 80 and 24 where a terminal does not say."""
        try:
            columns, lines = os.get_terminal_size(self._fd)
        except OSError:
            columns = lines = 0
        return columns or 80, lines or 24

    def write(self, text: str) -> None:
        """Send text; to be called only when flush() has left nothing."""
        self._pending = text.encode(errors="replace")
        self.flush()

    def flush(self) -> bool:
        """Send what is left as far as the terminal takes it now; return whether the terminal is still there."""
        try:
            while self._pending:
                self._pending = self._pending[os.write(self._out, self._pending) :]
        except BlockingIOError:
            pass
        except OSError:  # it is gone
            self._pending = b""
            return False
        return True

    @property
    def gone(self) -> bool:
        """Say whether it was closed. SIGHUP need not come: only the session's leader gets it, and may ignore it."""
        return bool(self._hang_up.poll(0))

    @property
    def busy(self) -> bool:
        """Say whether something is left to be sent."""
        return bool(self._pending)

    def read(self) -> str:
        """Return what was typed, without waiting; nothing when there is no keyboard."""
        if self._keyboard is None or not select.select([self._keyboard], [], [], 0)[0]:
            return ""
        try:
            typed = os.read(self._keyboard, 1024)
        except OSError:
            typed = b""
        if not typed:
            self._keyboard = None
        return typed.decode(errors="replace")


def _unblocked(fd: int) -> int:
    """Return a descriptor of the same terminal that never waits, if it can be had, else a copy.

    O_NONBLOCK belongs to the open file, which fd shares with the shell: /dev/tty is a file of our own, open to every user.
    """
    try:
        os.tcgetpgrp(fd)
        return os.open("/dev/tty", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return os.dup(fd)


def _keys_one_by_one(attributes: list[Any]) -> list[Any]:
    """Return the attributes with keys unechoed and at once; signals (Ctrl-C, Ctrl-Z) stay as they are, Ctrl-S stops nothing."""
    iflag, oflag, cflag, lflag, ispeed, ospeed, characters = attributes
    characters = list(characters)
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    return [iflag & ~termios.IXON, oflag, cflag, lflag & ~(termios.ICANON | termios.ECHO), ispeed, ospeed, characters]
