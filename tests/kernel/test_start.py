"""How `run` starts and ends: how long it takes, what it does without kernel headers, and what it says when it cannot."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel.mounts import with_mounts
from tests.kernel.net import Namespace
from tests.kernel.tracing import RUN, start, tracing
from tests.kernel.until import PATIENCE
from tests.needs import ROOT
from tracer.kernel.programs import TRACEPOINTS

ALWAYS = sum(point.only_for is None and point.attached_for is None for point in TRACEPOINTS)

COMPILING = 5 * PATIENCE
"""For what four commands load, compiled one after the other."""

HEADERS = [Path("/lib/modules"), Path("/usr/src"), Path("/usr/include")]


def test_it_says_how_long_it_took_to_attach(record_property: Callable[[str, object], None]) -> None:
    began = time.monotonic()
    with tracing() as tracer:
        most = time.monotonic() - began
        record_property("seconds_to_attach", tracer.seconds)
        print(f"attached after {tracer.seconds} s")
        assert 0 < tracer.seconds <= most


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where compiled programs are kept for this test alone: there are none yet."""
    directory = tmp_path / "kept"
    monkeypatch.setenv("CACHE_DIRECTORY", str(directory))
    return directory


@pytest.mark.usefixtures("kept")
def test_it_needs_no_kernel_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCC_KERNEL_SOURCE", "/nonexistent")
    with tracing(command=with_mounts(sys.executable, *RUN, empty=HEADERS)) as tracer:
        assert tracer.scrape().value("program_attached") == ALWAYS
        assert tracer.stop().status == 0


def test_a_program_is_compiled_at_the_first_start_and_taken_as_it_is_at_the_next(kept: Path) -> None:
    with tracing("--port", "80") as tracer:
        assert tracer.stop().status == 0
    files = list(kept.iterdir())
    assert [file.suffix for file in files] == [".json"] * 2  # state changes, and all else
    compiler = next(Path("/usr/lib").glob("*/libbcc.so.0"))
    no_compiler = with_mounts(sys.executable, *RUN, "--port", "443", bind={Path("/dev/null"): compiler})
    with tracing(command=no_compiler) as tracer:
        assert tracer.scrape().value("program_attached") == ALWAYS
    assert list(kept.iterdir()) == files


@pytest.mark.usefixtures("kept")
def test_the_doctor_finds_nothing_wrong_without_kernel_headers() -> None:
    doctor = with_mounts(sys.executable, "-m", "tracer", "doctor", empty=HEADERS)
    done = subprocess.run(doctor, cwd=ROOT, capture_output=True, text=True, check=False, timeout=COMPILING)
    assert done.returncode == 0, done.stdout
    assert "kernel headers are not needed" in done.stdout
    assert "FAIL" not in done.stdout


def test_a_port_that_is_taken_is_said_and_ends_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        command = [sys.executable, "-m", "tracer", "run", "--listen", address]
        with start(command=command) as process:
            out, log = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert out == b""
    assert log.decode().splitlines() == [
        f"tcptrace: cannot listen on {address}: address already in use",
        "hint: choose another address with --listen HOST:PORT",
    ]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_it_with_a_summary(number: signal.Signals, status: int) -> None:
    with tracing() as tracer:
        summary = tracer.stop(number)
    assert summary.status == status
    assert summary.document["events_lost"] == 0
    assert "Traceback" not in summary.log


def test_a_duration_ends_it_with_a_summary() -> None:
    with tracing("--duration", "0.5") as tracer:
        out, _ = tracer.process.communicate(timeout=PATIENCE)
    assert tracer.process.returncode == 0
    assert json.loads(out)["duration_seconds"] >= 0.5


def test_several_tracers_run_side_by_side(side: Namespace) -> None:
    with tracing() as one, tracing() as other, tracing("--netns", "own", side=side) as third:
        for tracer in (one, other, third):
            assert tracer.scrape().value("program_attached") == ALWAYS
        assert [tracer.stop().status for tracer in (one, other, third)] == [0, 0, 0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--pid", "4194304"], "there is no such process"),
        (["--cgroup", "/nonexistent"], "no such directory"),
        (["--cgroup", "/tmp"], "is no cgroup of version 2"),
        (["--address", "10.0.0.0/33"], "is not a network"),
        (["--role", "peer"], "is not a role"),
        (["--netns", "other"], "is not known"),
        (["--port", "0"], "--port"),
    ],
)
def test_a_filter_that_makes_no_sense_is_a_usage_error(options: list[str], said: str) -> None:
    with start(*options) as process:
        out, log = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert out == b""
    assert said in log.decode()
