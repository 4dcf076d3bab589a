"""What a process of ours could do if somebody took it over: it starts no program, writes no file, and connects to nobody."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.until import PATIENCE
from tests.needs import LACKS, ROOT
from tracer.kernel import confinement

pytestmark = [pytest.mark.kernel, pytest.mark.needs("setpriv")]

CONFINED = (sys.executable, "-m", "tests.kernel.confined")
DEMO = "tracer/data/demo.tcptrace"
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs")


@pytest.fixture(scope="module")
def plan() -> Iterator[dict[str, object]]:
    """Return what an ordinary user can do, all of it."""
    if confinement.version() < min(confinement.SCOPES):
        pytest.skip(f"{LACKS} Landlock, or some of it (Linux 6.12)")
    Path("/home").mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as place,
        tempfile.TemporaryDirectory(dir="/home") as home,
        socket.create_server(("127.0.0.1", 0)) as listener,
        subprocess.Popen([*NOBODY, "sleep", "1000"]) as sleeper,
    ):
        for directory in (place, home):
            Path(directory).chmod(0o777)
            for name in ("written", "removed"):
                Path(directory, name).write_text("here\n", encoding="ascii")
                Path(directory, name).chmod(0o666)
        yield {
            "execute": "/bin/true",
            "write": f"{place}/written",
            "make": f"{place}/made",
            "remove": f"{place}/removed",
            "read": f"{home}/written",
            "read elsewhere": "/etc/passwd",
            "connect": listener.getsockname()[1],
            "listen": 0,
            "signal": sleeper.pid,
            "discard": None,
        }
        sleeper.kill()


def tried(plan: dict[str, object], *command: str, by: tuple[str, ...] = ()) -> dict[str, str | None]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SUDO_")}
    done = subprocess.run(
        [*by, *CONFINED, json.dumps(plan), *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str | None] = json.loads(done.stderr.splitlines()[-1])
    return found


DENIED = {
    **dict.fromkeys(("execute", "write", "make", "remove", "read", "connect", "listen"), "EACCES"),
    "signal": "EPERM",
    "read elsewhere": None,
    "discard": None,
}


def test_a_run_can_do_none_of_it(plan: dict[str, object]) -> None:
    assert tried(plan, "run", "--no-view", "--duration", "0.1", "--listen", "127.0.0.1:0") == DENIED


def test_neither_can_a_replay_whose_recording_is_a_strangers(plan: dict[str, object]) -> None:
    assert tried(plan, "replay", DEMO) == DENIED


def test_neither_can_a_replay_that_was_not_started_by_root(plan: dict[str, object]) -> None:
    assert tried(plan, "replay", DEMO, by=NOBODY) == DENIED


def test_without_confinement_their_user_could_do_all_of_it(plan: dict[str, object]) -> None:
    assert tried(plan, by=NOBODY) == dict.fromkeys(plan)


def test_a_replay_by_root_is_nobodys() -> None:
    code = "import os, tracer.commands.replayedrun as r; r.print_summary = lambda *_, **__: print(os.getresuid()); "
    code += f"import sys; sys.argv[1:] = ['replay', {DEMO!r}]; from tracer.cli import command_line, main; main(command_line())"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SUDO_")}
    for more, uid in (({}, 65534), ({"SUDO_UID": "1"}, 1)):
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=ROOT, env=environment | more, capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr) == (f"{(uid,) * 3}\n", "")
