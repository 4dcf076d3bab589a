"""Times of events in a time namespace, whose CLOCK_MONOTONIC is not the kernel's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import datetime

from tests.kernel.net import Namespace
from tests.kernel.traffic import listening, talk
from tests.kernel.until import PATIENCE
from tests.kernel.watching import ATTACHED, EVENTS
from tests.needs import ROOT, tool

ADDRESS = "127.0.0.1"
ELSEWHERE = ("--time", "--monotonic", "100000", "--boottime", "100000", "--fork", "--kill-child")


def start(side: Namespace, *command: str) -> subprocess.Popen[bytes]:
    """Start a command in a namespace whose clock is a day ahead, and wait until it is attached."""
    process = subprocess.Popen(
        side.command(tool("unshare"), *ELSEWHERE, sys.executable, *command),
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("SUDO_")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    assert ATTACHED.search(process.stderr.readline())
    return process


def connect_once(side: Namespace, port: int) -> None:
    with listening(side, ADDRESS, port) as listener:
        talk(side, listener, ADDRESS, times=1)


def test_events_carry_the_wall_clock_of_their_moment_in_a_time_namespace(side: Namespace, port: int) -> None:
    with start(side, *EVENTS, "--port", str(port), "--count", "4") as process:
        before = time.time()
        connect_once(side, port)
        after = time.time()
        out, _ = process.communicate(timeout=PATIENCE)
    moments = [datetime.fromisoformat(json.loads(line)["time"]).timestamp() for line in out.splitlines()]
    assert len(moments) == 4
    assert all(before - 0.001 <= moment <= after + 0.001 for moment in moments)


def test_what_is_remembered_and_how_long_it_ran_hold_in_a_time_namespace(side: Namespace, port: int) -> None:
    run = ("-m", "tracer", "run", "--listen", "127.0.0.1:0", "--json", "--netns", "own", "--duration", "2")
    with start(side, *run, "--port", str(port)) as process:
        connect_once(side, port)
        out, log = process.communicate(timeout=PATIENCE)
    document = json.loads(out)
    assert process.returncode == 0, log
    assert {row["role"]: row["count"] for row in document["handshakes"]} == {"client": 1, "server": 1}
    assert 2 <= document["duration_seconds"] < 100
