"""`record --rotate`: when the next file begins, and which one it is."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from tracer.errors import TcptraceError, UsageError
from tracer.kernel.callersfile import open_as_caller

KEPT = 10
STDOUT = Path("-")

Due = Callable[[int, int], bool]
"""Says of a file's bytes, and of the nanoseconds that it covers, whether it has had enough."""

_LIMIT = re.compile(r"(\d+(?:\.\d+)?)([kMG]B?|[smh])", re.ASCII)
_BYTES = {"k": 10**3, "M": 10**6, "G": 10**9}
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_LEAST_BYTES, _LEAST_SECONDS = 10_000, 1


def never_due(_size: int, _age_ns: int) -> bool:
    """Say that one file takes all."""
    return False


def parse_rotation(text: str) -> Due:
    """Return when a file has had enough, of a size or a time; raises UsageError for what is neither."""
    found = _LIMIT.fullmatch(text)
    if not found:
        raise UsageError(f"--rotate {text} is no size and no time", "give 500k, 100M or 2G bytes, or 90s, 5m or 1h")
    number, unit = float(found[1]), found[2]
    limit = number * (_SECONDS[unit] if unit in _SECONDS else _BYTES[unit[0]])
    if limit < (_LEAST_SECONDS if unit in _SECONDS else _LEAST_BYTES):
        raise UsageError(f"--rotate {text} is too little", "give 10k or 1s at least")
    if unit in _SECONDS:
        return lambda _, age_ns: age_ns >= limit * 1e9
    return lambda size, _: size >= limit


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
        raise TcptraceError("a recording is no text for a terminal", "give a file, or a pipe: tcptrace record -o - | ...")
    sys.stdout.flush()
    return Files([os.fdopen(os.dup(1), "wb")])
