"""The bodies of /metrics, made one at a time: whoever comes meanwhile shares the next one.

Python runs one thread at a time, and the thread that drains the ring has to wait for its turn among those that render. With
one of them at most, however many scrape, its turn comes soon (see also TURN_SECONDS in http.py).
"""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable

from tracer.model.report import Report
from tracer.outputs.budget import Budget
from tracer.outputs.prometheus import PROTOBUF, render


class Shared:
    """A document that is made one at a time: whoever comes meanwhile shares the next one."""

    def __init__(self, make: Callable[[], bytes]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._begun = 0
        self._body = b""

    def body(self) -> bytes:
        """Return the document as it is at some moment after the call."""
        begun = self._begun
        with self._lock:
            if self._begun == begun:
                self._begun += 1
                self._body = self._make()
            return self._body


class Scrapes:
    """Bodies by content type, plain or packed, each of one Report. max_series: samples in each at most, None: no bound."""

    def __init__(self, report: Callable[[], Report], max_series: int | None = None) -> None:
        self.take = report
        self._native, self._classic = Budget(max_series, native=True), Budget(max_series)
        self._lock, self._counting = threading.Lock(), threading.Lock()
        self._begun = self._here = 0
        self._report: Report | None = None
        self._bodies: dict[tuple[str, bool], bytes] = {}

    def body(self, content_type: str, *, packed: bool) -> bytes:
        """Return the metrics as they are at some moment after the call; packed: with gzip."""
        begun = self._begun
        with self._counting:
            self._here += 1
        try:
            with self._lock:
                if self._report is None or self._begun == begun:
                    self._begun, self._report, self._bodies = self._begun + 1, None, {}
                    self._report = self.take()
                return self._body(self._report, content_type, packed=packed)
        finally:
            self._leave()

    def _leave(self) -> None:
        """Keep nothing for nobody: a report can have 20 MB."""
        with self._counting:
            self._here -= 1
            if not self._here:
                self._report, self._bodies = None, {}

    def _body(self, report: Report, content_type: str, *, packed: bool) -> bytes:
        key = content_type, packed
        if key not in self._bodies:
            budget = self._native if content_type == PROTOBUF else self._classic
            text = self._bodies.get((content_type, False)) or render(budget.of(report), content_type)
            # Level 1 takes a third of level 6's time, and text like this shrinks 15-fold anyhow.
            self._bodies[key] = gzip.compress(text, 1) if packed else text
        return self._bodies[key]
