"""What is shown while tracing goes on where nothing is drawn: lines on standard error.

A line a second on a terminal, else one in five seconds: what goes to a file or a pipe is read later, and looking costs.
"""

from __future__ import annotations

import os
import sys
from typing import Self

from tracer.commands.latest import Latest
from tracer.commands.session import Stop
from tracer.commands.terminal import STDERR, is_usable
from tracer.model.report import Report
from tracer.model.spans import Spans
from tracer.outputs.lines import Point, interval, point
from tracer.pipeline import IDLE_SECONDS, UNSEEN_SECONDS


class LineView:
    """Lines, and what the live view (view.py) has in common with them.

    stop: what `q` sets. color: of the live view. latest: what keeps records for it, if they are written to that.
    """

    def __init__(self, stop: Stop, *, color: bool | None = None, latest: Latest | None = None) -> None:
        self.stop, self.color, self.latest = stop, color, latest or Latest()
        self._on_terminal = os.isatty(STDERR)
        self._previous: Point | None = None

    def __enter__(self) -> Self:
        """Begin."""
        return self

    @property
    def spans(self) -> Spans | None:
        """What is known of the last ten minutes, None where nothing is drawn."""
        return None

    def pause(self) -> float:
        """Return the seconds after which poll() is to be called again; keys and signals end the wait before."""
        return IDLE_SECONDS if self._on_terminal else UNSEEN_SECONDS

    def show(self, report: Report) -> None:
        """Show one more Report."""
        now = point(report)
        for line in interval(now, self._previous):
            print(line, file=sys.stderr, flush=True)
        self._previous = now

    def say(self, what: str, hint: str) -> None:
        """Say what has happened: beside the figures, or on standard error with a hint."""
        print(f"tcptrace: {what}; {hint}", file=sys.stderr, flush=True)

    def poll(self) -> None:
        """Look at the keyboard, and whether the terminal is still there; to be called often."""

    def __exit__(self, *_: object) -> None:
        """End."""


def view_class(table: bool | None) -> type[LineView]:
    """Return what shows as --view and --no-view say, and the terminal allows: lines, or the live view.

    To be called while something can still be imported: what draws takes a megabyte, which lines do without.
    """
    if not (is_usable(STDERR) if table is None else table):
        return LineView
    from tracer.commands.view import View  # noqa: PLC0415 - see above

    return View
