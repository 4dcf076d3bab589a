"""The one error that users are meant to see.

Everything that can fail for a reason outside the program raises TcptraceError with a sentence that says what failed and one
that says what to do; only the command line prints them. Any other exception is a bug, and is reported as one.
"""

from __future__ import annotations


class TcptraceError(Exception):
    """An expected failure, for the user to act on; exit status 1.

    what: one sentence without a full stop, naming the thing that failed.
    hint: what to do next, or None when nothing can be done.
    """

    exit_status = 1

    def __init__(self, what: str, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        """Both sentences, as standard error shows them after the program's name."""
        return self.what if self.hint is None else f"{self.what}\nhint: {self.hint}"


class UsageError(TcptraceError):
    """Something given on the command line makes no sense; exit status 2."""

    exit_status = 2
