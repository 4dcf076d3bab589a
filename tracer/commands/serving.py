"""What the server's page needs besides a Report: the last ten minutes, and the files that it links to."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

from tracer.commands.dashboard import DASHBOARDS
from tracer.commands.lineview import LineView
from tracer.kernel.shipped import shipped
from tracer.model.report import Report
from tracer.model.spans import Spans, spans
from tracer.outputs.web.pages import File


class Kept:
    """The spans up to the last second. They are replaced and never changed, so that other threads can read them."""

    def __init__(self) -> None:
        self.spans: Spans | None = None

    def beside(self, show: Callable[[Report], None], view: LineView) -> Callable[[Report], None]:
        """Return what shows a Report and keeps what has happened since the one before."""

        def take(report: Report) -> None:
            show(report)
            self.spans = view.spans or spans(report, self.spans)

        return take


def shipped_files() -> Mapping[str, File]:
    """Return the dashboards and rules by the paths that the page links to; to be called before privileges are dropped."""
    place = shipped("dashboards")
    boards = {f"/dashboards/{name}": ("application/json", _packed(place / f"tcptrace-{name}.json")) for name in DASHBOARDS}
    return {**boards, "/rules": ("text/plain; charset=utf-8", _packed(place / "rules.yml"))}


def _packed(path: Path) -> bytes:
    return zlib.compress(path.read_bytes(), 1)
