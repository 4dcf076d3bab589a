"""A terminal that is closed under the live view: a window that goes, a line that breaks."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

from tests.emulator import SHELL, Emulator
from tests.kernel.until import until
from tests.unit.commands.replaying import is_running, replayed, replaying

IGNORING = ("/bin/sh", "-c", 'trap "" HUP; exec "$@"', "sh")
"""What nohup does, without its way with standard error."""

DEAF = (*SHELL[:2], SHELL[2].replace("INT", "INT HUP"), SHELL[3])
"""A shell that lives on when its terminal is closed, so that the kernel tells nobody else."""


def hung_up(terminal: Emulator) -> int:
    """Close the terminal; return the command's process, which has started no other."""
    pid = terminal.command
    assert terminal.children(pid) == []
    terminal.hang_up()
    return pid


def ends(pid: int) -> None:
    until(lambda: not is_running(pid), "the command has ended")


def switches(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.MULTILINE)[0])


def test_a_terminal_that_is_closed_ends_it() -> None:
    with replaying() as terminal:
        ends(hung_up(terminal))


def test_it_ends_also_when_nothing_is_drawn_and_no_signal_comes() -> None:
    with replayed(shell=DEAF) as terminal:
        ends(hung_up(terminal))
        assert is_running(terminal.shell)


def test_what_nohup_started_goes_on_without_its_terminal() -> None:
    with replaying(before=IGNORING, shell=DEAF) as terminal:
        pid = hung_up(terminal)
        os.kill(pid, signal.SIGHUP)
        far = switches(pid) + 10
        until(lambda: switches(pid) > far, "it has looked at its terminal a few times")
        os.kill(pid, signal.SIGTERM)
        ends(pid)
