"""The unit, as systemd's own tools judge it; that it works is for tests/e2e/test_deploy_privileges.py."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.needs import ROOT, tool

pytestmark = pytest.mark.needs("systemd-analyze")

UNIT = ROOT / "deploy/systemd/tcptrace.service"
MOST_EXPOSED = 2.0
"""deploy/README.md promises that; systemd 252 says 1.5, and each release of it counts a little differently."""


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([tool("systemd-analyze"), *words], capture_output=True, text=True, check=False, timeout=60)


def test_systemd_understands_every_line_of_the_unit(tmp_path: Path) -> None:
    # the command need not be installed here
    text = UNIT.read_text(encoding="utf-8").replace("/usr/local/bin/tcptrace", "/bin/true")
    unit = tmp_path / "tcptrace.service"
    unit.write_text(text, encoding="utf-8")
    done = analyze("verify", "--man=no", str(unit))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_line_that_systemd_does_not_know_would_be_found(tmp_path: Path) -> None:
    unit = tmp_path / "tcptrace.service"
    unit.write_text("[Service]\nExecStart=/bin/true\nProtectHomes=yes\n", encoding="utf-8")
    assert "ProtectHomes" in analyze("verify", "--man=no", str(unit)).stderr


def test_the_service_is_hardly_exposed() -> None:
    said = analyze("security", "--offline=yes", "--no-pager", str(UNIT)).stdout
    found = re.search(r"Overall exposure level for tcptrace.service: ([\d.]+)", said)
    assert found, said
    assert float(found[1]) <= MOST_EXPOSED
