"""What is around a run goes: its log, its terminal, its parent, its limits. It goes on, or it says why not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.kernel.tracing import ATTACHED, start
from tests.kernel.until import PATIENCE, until
from tests.needs import ROOT

TRACER = (sys.executable, "-m", "tracer")
RUN = (*TRACER, "run", "--listen", "127.0.0.1:0")


def shell(line: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which T is tcptrace."""
    text = f'T() {{ "{sys.executable}" -m tracer "$@"; }}; {line}'
    whole = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
    return subprocess.run(
        ["bash", "-c", text], cwd=ROOT, env=whole, capture_output=True, text=True, check=False, timeout=PATIENCE
    )


def test_a_log_pipe_that_closes_does_not_end_a_run() -> None:
    done = shell("T run --listen 127.0.0.1:0 --no-view --duration 2.5 --json 2> >(head -n 1 >/dev/null); echo $?")
    document, status = done.stdout.splitlines()
    assert json.loads(document)["duration_seconds"] >= 2.5
    assert status == "0"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ulimit -Sn 8; ulimit -Hn 8; setpriv --bounding-set -sys_resource T", "only 8 files may be open here"),
        ("ulimit -u 1; SUDO_UID=1 T", "can't start new thread"),
        ("SUDO_UID=abc T", "there is no user with number abc"),
        ("SUDO_UID=1 T", None),
    ],
    ids=["descriptors", "processes", "no such caller", "a caller"],
)
def test_limits_and_callers_are_told_in_a_sentence(line: str, said: str | None) -> None:
    line = line.replace(" T", f" {sys.executable} -m tracer")
    done = shell(f"{line} run --listen 127.0.0.1:0 --no-view --duration 0.1")
    assert "Traceback" not in done.stderr
    assert done.returncode == (1 if said else 0)
    assert (said or "") in done.stderr


def test_a_run_starts_in_a_directory_that_was_deleted() -> None:
    done = shell("D=$(mktemp -d); cd $D; rmdir $D; T run --listen 127.0.0.1:0 --no-view --duration 0.1")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("moment", ["importing", "loading"])
def test_ctrl_c_in_the_first_second_ends_it_without_a_word(moment: str) -> None:
    with subprocess.Popen(RUN, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        maps = Path(f"/proc/{process.pid}/maps")
        reached = {
            "importing": lambda: "_multiarray_umath" in maps.read_text(),
            "loading": lambda: [pid for pid in loaders() if parent(pid) == process.pid],
        }
        until(reached[moment], f"it is {moment}")
        process.send_signal(signal.SIGINT)
        _, log = process.communicate(timeout=PATIENCE)
    assert (process.returncode, log) == (130, b"")


def loaders() -> set[int]:
    found = set()
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            try:
                if b"tracer.kernel.loader" in (place / "cmdline").read_bytes():
                    found.add(int(place.name))
            except OSError:
                continue
    return found


def parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def test_the_loader_ends_with_its_parent() -> None:
    with start() as process:
        (loader,) = until(lambda: [pid for pid in loaders() if parent(pid) == process.pid], "the loader has started")
        process.kill()
        process.wait()
        began = time.monotonic()
        until(lambda: loader not in loaders(), "the loader is gone")
        print(f"gone after {time.monotonic() - began:.3f} s")
        assert ATTACHED.search((process.stderr.read() if process.stderr else b"").decode()) is None
