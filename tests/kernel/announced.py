"""A command that traces, from when it says so: what happens before is not its business."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def attached(process: subprocess.Popen[str], says: str = "attached after") -> Iterator[subprocess.Popen[str]]:
    """Yield a command, whose standard error is a pipe, when its first line there says so; afterwards it is gone."""
    with process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert says in line, line + process.stderr.read()
            yield process
        finally:
            process.kill()
