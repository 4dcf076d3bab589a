"""Nothing stays behind: no program, no map, no process, however tcptrace ends and however often it was started."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.kernel.tracing import BpfObjects, start, tracing
from tests.kernel.until import PATIENCE, until
from tracer.kernel.filters import Filters
from tracer.kernel.settings import Settings
from tracer.kernel.starter import TRACING, loader_command

pytestmark = pytest.mark.needs("bpftool")

LEAST_PROGRAMS = 5
LEAST_MAPS = 3
"""There may be more, but with fewer the tests below would look at nothing."""

CYCLES = 20


def session(leader: int) -> list[int]:
    """Return the processes of a session that have not ended."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            after_name = (place / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        if int(after_name[3]) == leader and after_name[0] not in "ZX":
            found.append(int(place.name))
    return found


def assert_real(objects: BpfObjects) -> None:
    assert len(objects.programs) >= LEAST_PROGRAMS
    assert len(objects.maps) >= LEAST_MAPS
    assert len(objects.alive()) == len(objects.programs) + len(objects.maps)


def wait_until_freed(objects: BpfObjects) -> None:
    until(lambda: not objects.alive(), "the kernel has freed every program and map")


def test_a_running_tracer_has_its_programs_and_maps() -> None:
    with tracing() as tracer:
        objects = tracer.bpf_objects()
        assert_real(objects)
        assert session(tracer.pid) == [tracer.pid]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_every_end_frees_its_programs_and_maps(number: signal.Signals) -> None:
    with tracing() as tracer:
        objects = tracer.bpf_objects()
        assert_real(objects)
        tracer.process.send_signal(number)
        tracer.process.wait(PATIENCE)
        wait_until_freed(objects)
        assert session(tracer.pid) == []


def test_twenty_starts_and_stops_leak_nothing() -> None:
    before = sorted(path.name for path in Path("/proc/self/fd").iterdir())
    for _ in range(CYCLES):
        with tracing() as tracer:
            objects = tracer.bpf_objects()
            assert_real(objects)
            assert tracer.stop().status == 0
        assert session(tracer.pid) == []
        wait_until_freed(objects)
    assert sorted(path.name for path in Path("/proc/self/fd").iterdir()) == before


def loader_of(process: subprocess.Popen[bytes]) -> int | None:
    """Return the process id of the loader, once it is what it is to become."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()
    for child in children:
        if b"tracer.kernel.loader" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    return None


def test_ctrl_c_during_the_start_ends_both_processes_quietly() -> None:
    with start() as process:
        until(lambda: loader_of(process), "the loader runs")
        os.killpg(process.pid, signal.SIGINT)
        out, log = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130
        assert out == b""
        assert "Traceback" not in log.decode()
        until(lambda: not session(process.pid), "both processes have ended")


def test_killing_it_during_the_start_ends_the_loader_too() -> None:
    with start() as process:
        until(lambda: loader_of(process), "the loader runs")
        process.kill()
        process.communicate(timeout=PATIENCE)
        until(lambda: not session(process.pid), "both processes have ended")


@pytest.mark.parametrize("asked", ["", json.dumps(asdict(Settings(Filters())))], ids=["not asked", "asked"])
def test_a_loader_that_nobody_waits_for_any_more_ends_quietly(asked: str) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        ours.send(asked.encode())
    with theirs:
        command = loader_command(theirs.fileno())
        done = subprocess.run(
            command, pass_fds=[theirs.fileno()], capture_output=True, text=True, check=False, timeout=PATIENCE
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("verb", TRACING)
def test_a_command_line_that_is_refused_leaves_no_loader_behind(verb: str) -> None:
    with start(command=(sys.executable, "-m", "tracer", verb, "--no-such-option")) as process:
        _, log = process.communicate(timeout=PATIENCE)
        assert process.returncode == 2
        assert "No such option: --no-such-option" in log.decode()
        assert not session(process.pid)
