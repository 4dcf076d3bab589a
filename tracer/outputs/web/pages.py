"""What the server has besides /metrics and /healthz: the page, the report, and files that ship with tcptrace.

Pages are made one at a time, as metrics are (scrapes.py), so that whoever looks on cannot keep the drain from its turn.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping

from tracer.model.report import Report
from tracer.model.spans import Spans
from tracer.outputs.web.page import LINKS, page
from tracer.outputs.web.pagelook import PAGE_POLICY, REPORT_POLICY
from tracer.outputs.web.scrapes import Shared
from tracer.outputs.web.summary import summary_page

HTML = "text/html; charset=utf-8"
ROOT, REPORT = "/", "/report"
ALWAYS = (REPORT, "/metrics", "/healthz")

File = tuple[str, bytes]
"""A type of content, and the content, packed with zlib: without privileges, files in an unreadable home cannot be read."""

NO_FILES: Mapping[str, File] = {}

Found = tuple[str, bytes, str]
"""A type of content, the body, and the content policy, "" for none."""


class Pages:
    """Makes them when they are asked for. report, healthy: called for each; past: what is known of the last ten minutes."""

    def __init__(
        self,
        report: Callable[[], Report],
        healthy: Callable[[], bool],
        past: Callable[[], Spans | None],
        files: Mapping[str, File],
    ) -> None:
        links = tuple(link for link in LINKS if link in ALWAYS or link in files)
        self._files = files
        self._made = {
            ROOT: (PAGE_POLICY, Shared(lambda: page(report(), past(), healthy=healthy(), links=links).encode())),
            REPORT: (REPORT_POLICY, Shared(lambda: summary_page(report()).encode())),
        }

    def find(self, path: str) -> Found | None:
        """Return what there is at a path, None where there is nothing."""
        if path in self._made:
            policy, shared = self._made[path]
            return HTML, shared.body(), policy
        if path in self._files:
            content_type, packed = self._files[path]
            return content_type, zlib.decompress(packed), ""
        return None
