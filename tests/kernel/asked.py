"""A program of the tests' own beside them that says a line first, and answers each line that it reads with one in JSON."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tracer.kernel.starter import SYSTEM_PYTHON


class Asked:
    """Such a program. first: the line that it has said."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.first = self._line()

    def ask(self, what: str = "") -> dict[str, Any]:
        """Return its next answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        return dict(json.loads(self._line()))

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextmanager
def asked(script: str, *arguments: object) -> Iterator[Asked]:
    """Yield a script of this directory that runs under the distribution's Python, and is gone afterwards."""
    command = [SYSTEM_PYTHON, "-I", str(Path(__file__).with_name(script)), *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Asked(process)
        finally:
            process.kill()
