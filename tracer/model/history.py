"""The last minute of every service: handshakes a second and their p99, interval by interval; and the Report that ended it.

A minute of whole Reports would do as well, and weigh 12 MB; what is drawn of each interval is two numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracer.model.histogram import quantile
from tracer.model.report import Report, Service, services

INTERVALS = 60

Moments = NDArray[np.float32]


@dataclass(frozen=True)
class History:
    """What a live view shows: the latest Report, and how it came to that.

    services: of the Report, in its order. moments: by Service.key, shape (n <= INTERVALS, 2), oldest first: handshakes a
    second, and the p99 of their times in seconds (nan where none was known). drifts: of the audit, by counter, as far as the
    Report before had it too: what is under way has been counted by one side first, and says nothing.
    """

    report: Report
    services: tuple[Service, ...]
    moments: Mapping[tuple[str, ...], Moments]
    drifts: Mapping[str, int]


def history(report: Report, earlier: History | None = None) -> History:
    """Return the history up to a Report; without an earlier one, its first interval began with the tracing."""
    found = tuple(services(report))
    seconds = report.duration_seconds - (earlier.report.duration_seconds if earlier else 0.0)
    before = {service.key: service for service in earlier.services} if earlier else {}
    past = earlier.moments if earlier else {}
    moments = {}
    for service in found:
        moment = _moment(service, before.get(service.key), seconds)
        known = past.get(service.key)
        moments[service.key] = moment if known is None else np.concatenate([known, moment])[-INTERVALS:]
    return History(report, found, moments, _lasting_drifts(report, earlier.report if earlier else None))


def _moment(now: Service, before: Service | None, seconds: float) -> Moments:
    """Return what happened in between, shape (1, 2)."""
    new = now.handshakes - (before.handshakes if before else 0)
    times = now.times.since(before.times) if before else now.times
    rate = new / seconds if seconds > 0 else np.nan
    return np.array([[rate, quantile(times, 0.99)[0]]], np.float32)


def _lasting_drifts(now: Report, before: Report | None) -> dict[str, int]:
    then = {line.counter: line.drift or 0 for line in before.audit} if before else {}
    both = {line.counter: (line.drift or 0, then.get(line.counter, 0)) for line in now.audit}
    return {name: min(drifts, key=abs) for name, drifts in both.items() if drifts[0] * drifts[1] > 0}
