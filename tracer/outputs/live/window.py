"""The part of the past that the live view shows: the last minute, the last ten seconds, or all. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tracer.model.history import History
from tracer.model.spans import Lately, lately
from tracer.model.who import Whose

SINCE_START = 0.0
SPANS = (60.0, 10.0, SINCE_START)
"""Seconds, in the order in which the key goes through them."""

Key = tuple[str, ...]


@dataclass(frozen=True)
class Window:
    """What services did in a span, those that did nothing left out. seconds: how long it really is."""

    found: Sequence[Lately]
    seconds: float
    whose: dict[Key, Whose]

    @property
    def handshakes(self) -> int:
        """Handshakes of all services."""
        return sum(one.service.handshakes for one in self.found)

    @property
    def failed(self) -> int:
        """Handshakes of all services that failed."""
        return sum(one.service.failed for one in self.found)


def window(history: History, span: float) -> Window:
    """Return what happened in one of SPANS."""
    report = history.report
    if span == SINCE_START or report.duration_seconds <= span:
        found, seconds = _since_start(history), report.duration_seconds
    else:
        found, seconds = lately(history.spans, report, span)
    rows = {labels: row for row, labels in enumerate(report.series.labels)}
    known = len(report.who.table)
    whose = {one.service.key: report.who.of(rows[one.service.key]) for one in found} if known else {}
    return Window(found, seconds, whose)


def _since_start(history: History) -> list[Lately]:
    report = history.report
    rows = {labels: row for row, labels in enumerate(report.series.labels)}
    seconds = report.duration_seconds or 1.0
    return [
        Lately(
            service,
            float(report.series.sent_bytes[rows[service.key]]) / seconds,
            float(report.series.received_bytes[rows[service.key]]) / seconds,
        )
        for service in history.services
    ]


def span_text(span: float) -> str:
    """Return what the head says of a span."""
    return {60.0: "last minute", 10.0: "last 10 s"}.get(span, "since the start")
