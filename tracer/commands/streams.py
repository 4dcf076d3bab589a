"""Standard output and standard error as they have to be for what runs for months: neither ends it by surprise.

Standard output is what was asked for: that it cannot be written is an expected failure, and said. Standard error is a log:
tracing goes on without it, whether its reader has gone, its disk is full, or nobody reads on.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from contextlib import suppress
from typing import Any

from tracer.errors import TcptraceError

PATIENCE_SECONDS = 1.0
"""How long a log that takes nothing is waited for; after that its lines are dropped until it takes some."""


GONE = (errno.EPIPE, errno.EIO)
"""What writing says when nobody can read any more: at a pipe, and at a terminal that was closed."""


class ReaderGoneError(Exception):
    """A reader that has seen enough; no OSError, of which the parser of the command line makes a failure."""


class CheckedOutput(io.TextIOWrapper):
    """Standard output. A reader that has seen enough, or has gone, is a ReaderGoneError, any other error a TcptraceError."""

    def write(self, text: str, /) -> int:
        """Write, or say why not."""
        try:
            return super().write(text)
        except OSError as error:
            raise output_failure(error) from error

    def flush(self) -> None:
        """Write what is left, or say why not."""
        try:
            super().flush()
        except OSError as error:
            raise output_failure(error) from error


class Log(io.TextIOWrapper):
    """Standard error, line by line; what cannot be written is dropped."""

    _patience = PATIENCE_SECONDS

    def write(self, text: str, /) -> int:
        """Write, or drop it."""
        if self._is_ready():
            with suppress(OSError):
                return super().write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is left, or drop it."""
        with suppress(OSError, ValueError):
            super().flush()

    def _is_ready(self) -> bool:
        poll = select.poll()
        try:
            poll.register(self.fileno(), select.POLLOUT)
        except (OSError, ValueError):
            return False
        ready = bool(poll.poll(self._patience * 1000))
        self._patience = PATIENCE_SECONDS if ready else 0.0
        return ready


def output_failure(error: OSError) -> ReaderGoneError | TcptraceError:
    """Return what to raise when standard output takes nothing."""
    return ReaderGoneError() if error.errno in GONE else cannot_write(error)


def cannot_write(error: OSError) -> TcptraceError:
    """Return what to say when standard output takes nothing."""
    return TcptraceError(f"cannot write to standard output: {error.strerror or error}", "give it a file, a pipe or a terminal")


def prepare() -> None:
    """Put both in place; to be called once, before anything is written."""
    errors = str(getattr(sys.stdout, "errors", None) or "strict")
    sys.stdout = CheckedOutput(_raw(1), encoding=_encoding(sys.stdout), errors=errors, line_buffering=os.isatty(1))
    sys.stderr = Log(_raw(2, 0), encoding=_encoding(sys.stderr), errors="backslashreplace", line_buffering=True)


def discard_output() -> None:
    """Let what is left of standard output go nowhere, so that Python does not complain about it at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


def _raw(descriptor: int, buffering: int = -1) -> Any:
    return os.fdopen(descriptor, "wb", buffering, closefd=False)


def _encoding(stream: object) -> str:
    return str(getattr(stream, "encoding", None) or "utf-8")
