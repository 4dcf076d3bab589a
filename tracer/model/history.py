"""What a live view shows: the latest Report, the last minute of every service, and the records of late.

Of each interval two numbers are drawn, handshakes a second and their p99; what spans.py keeps are the counts of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.decode import Events
from tracer.model.histogram import quantile, stacked
from tracer.model.report import Report, Service, services
from tracer.model.spans import Spans, spans

INTERVALS = 60

Moments = NDArray[np.float32]


@dataclass(frozen=True)
class History:
    """What a live view shows: the latest Report, and how it came to that.

    services: of the Report, in its order. moments: by Service.key, shape (n <= INTERVALS, 2), oldest first: handshakes a
    second, and the p99 of their times in seconds (nan where none was known). spans: the last minute in counts. records: the
    latest ones, in batches, the oldest first; as many as whoever made it keeps.
    """

    report: Report
    services: tuple[Service, ...]
    moments: Mapping[tuple[str, ...], Moments]
    spans: Spans
    records: tuple[Events, ...] = ()

    @property
    def drifts(self) -> Mapping[str, int]:
        """The lasting drifts of the audit, by counter."""
        return self.spans.drifts


def history(report: Report, earlier: History | None = None, records: tuple[Events, ...] = ()) -> History:
    """Return the history up to a Report; without an earlier one, its first interval began with the tracing."""
    found = tuple(services(report))
    seconds = report.duration_seconds - (earlier.report.duration_seconds if earlier else 0.0)
    before = {service.key: service for service in earlier.services} if earlier else {}
    past = earlier.moments if earlier else {}
    moments = {}
    for service, moment in zip(found, _moments(found, before, seconds), strict=True):
        known = past.get(service.key)
        moments[service.key] = moment[None] if known is None else np.concatenate([known, moment[None]])[-INTERVALS:]
    return History(report, found, moments, spans(report, earlier.spans if earlier else None), records)


def _moments(now: Sequence[Service], before: Mapping[tuple[str, ...], Service], seconds: float) -> Moments:
    """Return what happened in between to each service, shape (n, 2)."""
    then = [before.get(service.key) for service in now]
    new = np.array([one.handshakes - (old.handshakes if old else 0) for one, old in zip(now, then, strict=True)], np.float64)
    rates = new / seconds if seconds > 0 else np.full(len(now), np.nan)
    times = [one.times.since(old.times) if old and late else one.times for one, old, late in zip(now, then, new, strict=True)]
    p99s = np.full(len(now), np.nan)
    late = np.flatnonzero(new)
    if len(late):
        p99s[late] = quantile(stacked([times[at] for at in late.tolist()]), 0.99)
    return np.stack([rates, p99s], axis=1).astype(np.float32)
