"""The recording that ships, replayed on a terminal by an ordinary command, for tests of what is seen there."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.emulator import SHELL, Emulator, on_terminal

REPLAY = (sys.executable, "-m", "tracer", "replay", "tracer/data/demo.tcptrace")
SHOWN = "last minute"


@contextmanager
def replaying(*, before: Sequence[str] = (), speed: int = 1, shell: Sequence[str] = SHELL) -> Iterator[Emulator]:
    """Yield a terminal with a replay that shows its table, and goes on doing so until it is ended."""
    with on_terminal([*before, *REPLAY, "--speed", str(speed), "--listen", "127.0.0.1:0"], shell=shell) as terminal:
        terminal.until(lambda: terminal.full_screen, "the view has the terminal")
        terminal.until_seen(SHOWN)
        yield terminal


@contextmanager
def replayed(*before: str, shell: Sequence[str] = SHELL) -> Iterator[Emulator]:
    """Yield a terminal with a replay at the recording's end: nothing is drawn any more unless something is done."""
    with replaying(before=before, speed=20, shell=shell) as terminal:
        terminal.until_seen("end of the recording")
        yield terminal


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "X"


def is_running(pid: int) -> bool:
    return state(pid) not in "XZ"
