"""Standard descriptors that are closed, full or gone: a sentence and a status, and never a traceback."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time

import pytest

from tests.needs import ROOT
from tracer.commands.streams import PATIENCE_SECONDS, Log

DEMO = "tracer/data/demo.tcptrace"
COMMANDS = {
    "replay": f"replay {DEMO} --json",
    "replay events": f"replay {DEMO} events --json",
    "rules": "rules",
    "--help": "--help",
}
FULL, CLOSED = "No space left on device", "Bad file descriptor"
NO_ROOM = "failed to map|Memory allocation"
"""What the dynamic linker says, or OpenBLAS, which then ends the process by itself: whoever finds no room first."""


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which $T is tcptrace."""
    text = f'T() {{ "{sys.executable}" -m tracer "$@"; }}; {line}'
    return subprocess.run(["bash", "-c", text], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(("where", "why"), [(">/dev/full", FULL), (">&-", CLOSED), ("<&- >&-", CLOSED)])
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_standard_output_that_takes_nothing_is_said(command: str, where: str, why: str) -> None:
    done = shell(f"T {command} {where}")
    assert done.returncode == 1
    assert f"tcptrace: cannot write to standard output: {why}\nhint: " in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_reader_that_has_seen_enough_is_no_failure(command: str) -> None:
    done = shell(f"T {command} | head -c 1 >/dev/null; echo ${{PIPESTATUS[0]}}")
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_with_all_three_closed_nothing_else_takes_their_place() -> None:
    done = shell(f"T replay {DEMO} --json <&- >&- 2>&-; echo $?; T rules 2>&- | tail -n 1 | wc -l")
    assert done.stdout == "1\n1\n"
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("limits", "said"), [("ulimit -n 4", "Too many open files"), ("ulimit -v 30000", NO_ROOM), ("ulimit -v 60000", NO_ROOM)]
)
def test_a_machine_without_room_for_a_start_is_told_so(limits: str, said: str) -> None:
    done = shell(f"{limits}; T replay {DEMO} >/dev/null")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert re.search(said, done.stderr)


def test_a_deleted_working_directory_is_in_nobodys_way() -> None:
    done = shell(f"D=$(mktemp -d); D2=$PWD; cd $D; rmdir $D; PYTHONPATH=$D2 T replay $D2/{DEMO} --json")
    assert done.returncode == 0
    assert done.stderr == ""


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_terminal_that_was_closed_before_the_summary_is_no_failure(command: str) -> None:
    ours, theirs = os.openpty()
    os.close(ours)
    tracer = [sys.executable, "-m", "tracer", *command.split()]
    done = subprocess.run(tracer, cwd=ROOT, stdout=theirs, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_log_that_nobody_reads_is_waited_for_once_and_then_dropped_until_somebody_does() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    while True:  # fill it
        try:
            os.write(writer, bytes(4096))
        except BlockingIOError:
            break
    os.set_blocking(writer, True)
    with Log(os.fdopen(writer, "wb", 0), line_buffering=True) as log:
        begin = time.monotonic()
        for _ in range(100):
            log.write("dropped\n")
        assert time.monotonic() - begin < 50 * PATIENCE_SECONDS
        os.read(reader, select.PIPE_BUF)
        log.write("written\n")
    with os.fdopen(reader, "rb") as rest:
        assert rest.read().strip(b"\0") == b"written\n"
