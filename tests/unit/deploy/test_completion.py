"""The completion of bash, as bash itself answers when Tab is pressed; no process of tcptrace is started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.needs import ROOT

PRESS = """
. "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_tcptrace
printf '%s\\n' "${COMPREPLY[@]}"
"""


def written(shell: str) -> str:
    command = [sys.executable, str(ROOT / "deploy/completion.py"), shell]
    return subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.fixture(scope="module")
def completion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "tcptrace"
    path.write_text(written("bash"), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["r"], ["run", "record", "replay", "report", "rules"]),
        (["--no-color", "ev"], ["events"]),
        (["--col"], ["--color"]),
        (["run", "--li"], ["--listen"]),
        (["run", "--no"], ["--no-view", "--no-color"]),
        (["run", "--role", ""], ["client", "server"]),
        (["events", "--format", "j"], ["json"]),
        (["help", "do"], ["doctor"]),
        (["record", "-o", ""], [""]),
    ],
    ids=str,
)
def test_tab_offers_verbs_options_and_values(completion: Path, typed: list[str], offered: list[str]) -> None:
    command = ["/bin/bash", "-c", PRESS, "bash", str(completion), "tcptrace", *typed]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env={"PATH": ""})
    assert (done.stdout.splitlines(), done.stderr) == (offered, "")


def test_zsh_has_the_same_words() -> None:
    bash, zsh = ([line.strip() for line in written(shell).splitlines() if "choices='" in line] for shell in ("bash", "zsh"))
    assert bash == zsh
    assert len(bash) > 50
