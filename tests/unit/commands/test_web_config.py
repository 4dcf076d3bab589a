"""`--web-config` on a command that needs no root."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.needs import ROOT
from tests.unit.outputs.web.secured import ALICE, TLS, ask, client_context, configuration

DEMO = ROOT / "tracer/data/demo.tcptrace"
REPLAY = [sys.executable, "-m", "tracer", "replay"]


def test_a_replay_is_served_as_the_file_says(tmp_path: Path) -> None:
    path = configuration(tmp_path, f"{TLS}\nbasic_auth_users: {{alice: {ALICE}}}\n")
    command = [*REPLAY, "--listen", "127.0.0.1:0", "--web-config", str(path), str(DEMO)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            found = re.search(r"metrics on https://(\S+:\d+)/metrics", process.stderr.readline())
            assert found is not None
            assert ask(found[1], context=client_context())[0] == 401
            assert ask(found[1], context=client_context(), user="alice:secret")[0] == 200
        finally:
            process.kill()


def test_without_anything_to_serve_it_makes_no_sense(tmp_path: Path) -> None:
    command = [*REPLAY, "--web-config", str(configuration(tmp_path, TLS)), str(DEMO)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--web-config is for what --listen serves" in done.stderr
