"""A terminal for tests: a real pseudo-terminal with a command on it, and what a person would see there.

The command is started by a shell, as users start it: a terminal is hung up when the leader of its session ends.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import pyte

from tests.needs import ROOT, tool

ALTERNATE = 1049
PATIENCE = 60 * float(os.environ.get("TCPTRACE_SLOWNESS", "1"))

# Ctrl-C reaches the shell too, which has to outlive the command to tell its status.
SHELL = ("/bin/sh", "-c", 'trap : INT; "$@"; echo "status $?"; exec sleep 1000', "sh")


class TwoScreens(pyte.Screen):
    """pyte's screen, and the alternate one, which pyte does not know."""

    normal: tuple[Any, Any] | None = None

    def set_mode(self, *modes: int, **options: Any) -> None:
        """Enter the alternate screen, unless it is shown already, or whatever else is asked for."""
        if options.get("private") and ALTERNATE in modes and self.normal is None:
            self.normal = deepcopy(self.buffer), deepcopy(self.cursor)
        super().set_mode(*modes, **options)

    def reset_mode(self, *modes: int, **options: Any) -> None:
        """Leave it again, with the normal one as it was; whether the cursor is hidden belongs to neither."""
        if options.get("private") and ALTERNATE in modes and self.normal:
            hidden = self.cursor.hidden
            self.buffer, self.cursor = self.normal
            self.cursor.hidden = hidden
            self.normal = None
        super().reset_mode(*modes, **options)


class Emulator:
    """A command on a terminal. writes: the pieces in which output came."""

    def __init__(self, shell: int, fd: int, columns: int, lines: int) -> None:
        self.shell, self.fd = shell, fd
        self.screen = TwoScreens(columns, lines)
        self.writes: list[bytes] = []
        self._stream = pyte.ByteStream(self.screen)

    @property
    def display(self) -> list[str]:
        """The lines that are seen, without blanks at their ends."""
        return [line.rstrip() for line in self.screen.display]

    @property
    def text(self) -> str:
        """All of them as one text."""
        return "\n".join(self.display)

    @property
    def full_screen(self) -> bool:
        """Whether the alternate screen is shown."""
        return self.screen.normal is not None

    @property
    def settings(self) -> list[Any]:
        """The terminal's settings, as termios has them."""
        return termios.tcgetattr(self.fd)

    @property
    def command(self) -> int:
        """The process id of what the shell has started."""
        (child,) = self.children(self.shell)
        return child

    @staticmethod
    def children(pid: int) -> list[int]:
        """Return the process ids of the children of a process."""
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [int(child) for task in tasks for child in (task / "children").read_text(encoding="ascii").split()]

    def type(self, keys: str) -> None:
        """Type some keys."""
        os.write(self.fd, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Give the terminal another size, and an empty screen: what was there is the program's to draw anew."""
        self.screen.resize(lines, columns)
        self.screen.erase_in_display(2)
        set_size(self.fd, columns, lines)

    def until(self, condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
        """Look on until a condition holds; fails, with what is seen, when that takes too long."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"waited in vain until {what}; this is seen:\n{self.text}"
            self.look(0.05)

    def until_seen(self, text: str) -> None:
        """Look on until a text is on the screen."""
        self.until(lambda: text in self.text, f"{text!r} is seen")

    def look(self, seconds: float) -> None:
        """Take in what comes, waiting for it no longer than that."""
        while select.select([self.fd], [], [], seconds)[0]:
            with suppress(OSError):  # EIO: nobody has it open any more
                self.writes.append(os.read(self.fd, 1 << 16))
                self._stream.feed(self.writes[-1])
            seconds = 0

    def hang_up(self) -> None:
        """Close the terminal, as a window is closed or a line breaks."""
        os.close(self.fd)
        self.fd = -1

    def kill(self) -> None:
        """End everything that runs there."""
        for pid in (*self.children(self.shell), self.shell):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def set_size(fd: int, columns: int, lines: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


@contextmanager
def on_terminal(
    command: Sequence[str], columns: int = 80, lines: int = 24, *, shell: Sequence[str] = SHELL
) -> Iterator[Emulator]:
    """Yield a terminal on which a shell has started a command; what runs there is killed in the end."""
    environment = {**os.environ, "TERM": "xterm-256color", "PS1": "$ "}
    for name in ("NO_COLOR", "SUDO_UID", "SUDO_GID"):
        environment.pop(name, None)
    ours, theirs = pty.openpty()
    set_size(ours, columns, lines)
    process = subprocess.Popen(
        [tool("setsid"), "--ctty", *shell, *command], cwd=ROOT, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    emulator = Emulator(process.pid, ours, columns, lines)
    try:
        yield emulator
    finally:
        emulator.kill()
        process.wait()
        if emulator.fd >= 0:
            emulator.hang_up()
