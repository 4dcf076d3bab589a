"""The command as a process of its own: started, waited for, and what it says when it fails."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.needs import ROOT
from tests.ordinary import ordinary_user

COMMAND = [sys.executable, "-W", "error::ResourceWarning", "-m", "tracer"]
ENVIRONMENT = {**os.environ, "COLUMNS": "160", "NO_COLOR": "1", "TERM": "dumb"}


def tcptrace(*arguments: str | Path, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, env=ENVIRONMENT, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, timeout=60
    )


def failed(result: subprocess.CompletedProcess[str]) -> tuple[str, str]:
    """Return the sentence and the hint of a command that failed as expected, with exit status 1."""
    assert result.returncode == 1, result.stderr
    match = re.fullmatch(r"tcptrace: (.*)\nhint: (.*)\n", result.stderr, flags=re.DOTALL)
    assert match is not None, result.stderr
    return match[1], match[2]


def as_ordinary_user(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ordinary_user(str(program), *arguments)
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=60)
