"""`record --rotate`: when the next file begins, and which one it is."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from tracer.commands.options import UNITS, seconds_of
from tracer.errors import TcptraceError, UsageError
from tracer.kernel.callersfile import open_as_caller

KEPT = 10
STDOUT = Path("-")

Due = Callable[[int, int], bool]
"""Says of a file's bytes, and of the nanoseconds that it covers, whether it has had enough."""

_SIZE = re.compile(r"(\d+(?:\.\d+)?)([kMG])B?", re.ASCII)
_BYTES = {"k": 10**3, "M": 10**6, "G": 10**9}
_LEAST_BYTES, _LEAST_SECONDS = 10_000, 1


def never_due(_size: int, _age_ns: int) -> bool:
    """Say that one file takes all."""
    return False


def parse_rotation(text: str) -> Due:
    """Return when a file has had enough, of a size or a time; raises UsageError for what is neither."""
    size, seconds = _SIZE.fullmatch(text), seconds_of(text) if text.endswith(UNITS) else None
    limit = float(size[1]) * _BYTES[size[2]] if size else seconds
    if limit is None:
        raise UsageError(f"--rotate {text} is neither a size nor a time", "give 500k, 100M or 2G bytes, or 90s, 5m or 1h")
    if limit < (_LEAST_BYTES if size else _LEAST_SECONDS):
        raise UsageError(f"--rotate {text} is too little", "give 10k or 1s at least")
    return (lambda number, _: number >= limit) if size else (lambda _, age_ns: age_ns >= limit * 1e9)


class Files:
    """The files of a recording, all open from the start, since an unprivileged process can make none there; used in turn."""

    def __init__(self, files: list[BinaryIO]) -> None:
        self._files = files
        self._next = 0

    def next_file(self) -> BinaryIO:
        """Return the next one, emptied."""
        file = self._files[self._next % len(self._files)]
        self._next += 1
        if file.seekable():
            file.seek(0)
            file.truncate(0)
        return file

    def close(self) -> None:
        """Close all."""
        for file in self._files:
            file.close()


def open_files(output: Path, rotated: int) -> Files:
    """Open what is written: standard output, a file, or so many that are numbered; raises TcptraceError."""
    if output != STDOUT:
        paths = [Path(f"{output}.{number}") for number in range(1, rotated + 1)] if rotated else [output]
        return Files([open_as_caller(path) for path in paths])
    if os.isatty(1):
        raise TcptraceError("a recording is binary, not for a terminal", "give a file, or a pipe: tcptrace record -o - | ...")
    sys.stdout.flush()
    return Files([os.fdopen(os.dup(1), "wb")])
