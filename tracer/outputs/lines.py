"""Text for where no terminal is: one log line per interval, and the summary at the end. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tracer.model.histogram import Histogram, quantile
from tracer.model.report import Report, Service, services, summed
from tracer.model.tcp import STATES
from tracer.outputs.units import bytes_text, count_text, exact_text, rate_text, time_text

SERVICES_SHOWN = 20


@dataclass(frozen=True)
class Point:
    """What the line of an interval needs of a Report, so that none is kept until the next: it can have 20 MB.

    times: of all handshakes, one row.
    """

    seconds: float
    counts: Mapping[str, int]
    times: Histogram
    open: int
    lost: int | None
    untracked: int | None


def point(report: Report) -> Point:
    """Return a Report's Point."""
    series = report.series
    return Point(
        seconds=report.duration_seconds,
        counts={name: int(getattr(series, name).sum()) for name in ("handshakes", "failures", "closes", "retransmitted")},
        times=series.handshake_times.merged(np.arange(len(series.handshake_times.counts))),
        open=int(series.connections.sum()),
        lost=report.events_lost,
        untracked=report.untracked,
    )


def interval(now: Point, before: Point | None = None) -> list[str]:
    """Return one line on what happened since the Point before, or since the start without one."""
    new = {name: count - (before.counts[name] if before else 0) for name, count in now.counts.items()}
    seconds = now.seconds - (before.seconds if before else 0.0)
    times = now.times.since(before.times) if before else now.times
    rate = rate_text(new["handshakes"] / seconds if seconds > 0 else None)
    values = {
        "handshakes": new["handshakes"],
        "rate": f"{rate}/s",
        "p50": _value(times, 0.5),
        "p99": _value(times, 0.99),
        "failures": new["failures"],
        "closes": new["closes"],
        "retransmitted": new["retransmitted"],
        "open": now.open,
        "lost": count_text(now.lost),
        "untracked": count_text(now.untracked),
    }
    return [" ".join(f"{name}={value}" for name, value in values.items())]


def _value(times: Histogram, q: float) -> str:
    value = float(quantile(times, q)[0])
    return time_text(None if np.isnan(value) else value).replace(" ", "")


def summary(report: Report) -> list[str]:
    """Return the summary of a run, a few lines for each service and one on what was not seen."""
    found = services(report)
    shown = found[:SERVICES_SHOWN] + ([summed(report, found[SERVICES_SHOWN:])] if found[SERVICES_SHOWN:] else [])
    lines = [f"traced for {report.duration_seconds:.1f} s"]
    if not shown:
        lines.append("no TCP connection was opened or closed")
    for service in shown:
        lines += _service(service)
    return [*lines, *_totals(report), _unseen(report)]


def _service(service: Service) -> list[str]:
    return [service.name, *(f"  {line}" for line in _details(service) if line)]


def _details(service: Service) -> list[str]:
    return [
        _handshakes(service),
        _named("failures", service.failures),
        _named("closes", service.closes),
        _named("retransmitted segments", service.retransmitted),
    ]


def _handshakes(service: Service) -> str:
    if not service.handshakes:
        return ""
    names = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))
    times = ", ".join(f"{name} {time_text(service.quantile(q))}" for name, q in names)
    return f"{service.handshakes:,} handshakes: {times}"


def _named(title: str, counts: Mapping[str, int]) -> str:
    if not counts:
        return ""
    return f"{sum(counts.values()):,} {title}: " + ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _totals(report: Report) -> list[str]:
    series = report.series
    sent, received = (bytes_text(int(counts.sum())) for counts in (series.sent_bytes, series.received_bytes))
    lines = [f"payload: {sent} sent, {received} received"]
    if failed := int(series.failed_retransmits.sum()):
        lines.append(f"{failed:,} retransmissions that never left")
    if report.transitions is not None and report.transitions.any():
        biggest = np.argwhere(report.transitions)
        changes = (f"{STATES[a]}→{STATES[b]} {report.transitions[a, b]:,}" for a, b in biggest)
        lines.append("state changes: " + ", ".join(changes))
    return lines


def _unseen(report: Report) -> str:
    if report.events_lost is None:
        return "nothing was read"
    partial = f", {report.partial:,} existing connections" if report.partial else ""
    return f"{report.events_lost:,} events lost, {report.untracked or 0:,} connections untracked{partial}"


def audit_lines(report: Report) -> list[str]:
    """Return the table of the audit: each of the kernel's counters beside ours, and the drift; - where it counts alone."""
    rows = [("counter", "kernel", "traced", "drift")]
    rows += [(line.counter, f"{line.kernel:,}", exact_text(line.traced), exact_text(line.drift, "+")) for line in report.audit]
    head = f"network namespace {report.context.netns} (only tcptrace's own), {report.duration_seconds:.1f} s"
    return [head, *(f"{name:<20}{kernel:>14}{traced:>14}{drift:>10}" for name, kernel, traced, drift in rows)]
