"""How each metric is taken out of a Report: label values and a number for each of its samples, for the table in metrics.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from tracer import __version__
from tracer.ingest.snapshot import Snapshot
from tracer.ingest.source import Program
from tracer.model.audit import AuditLine
from tracer.model.backlogs import Listener
from tracer.model.histogram import CLASSIC_BOUNDS, Histogram
from tracer.model.ledger import RTT_QUANTILES
from tracer.model.naming import OTHER
from tracer.model.report import Report, Series
from tracer.model.summaryjson import reset_reason
from tracer.model.tcp import KINDS, STATES

EVENTS = "events"

Numbers = NDArray[np.uint64] | NDArray[np.float64]

Labels = tuple[str, ...]
Values = Iterable[tuple[Labels, float]]
Rows = tuple[Histogram, list[tuple[int, Labels]]]
"""Histograms side by side, and the rows of them that have observations, with label values."""


HISTOGRAM_SAMPLES = len(CLASSIC_BOUNDS) + 3
"""Of a classic histogram: its bounds, +Inf, _sum and _count."""


LEFT = "yes"
"""The value of the label `left`, which is at the end of the labels of what has left (outputs/budget.py) and of nothing else."""


def rows_of_series(report: Report) -> Iterator[tuple[int, Labels]]:
    """Yield the number and labels of every series; the model's first, which is `other` in all labels, has nothing."""
    yield from ((row, labels) for row, labels in enumerate(report.series.labels) if labels[0] != OTHER)


def _with(series: Series, row: int, known: int, *more: str) -> Labels:
    """Return the first known labels of a row and some more, and what is at the end of the row's beyond those of a series."""
    labels = series.labels[row]
    return (*labels[:known], *more, *labels[len(series.names) :])


def by_series(column: Callable[[Series], Numbers]) -> Callable[[Report], Values]:
    """Return how a column of the series is taken."""

    def take(report: Report) -> Values:
        values = column(report.series)
        return [(labels, float(values[row])) for row, labels in rows_of_series(report)]

    return take


def by_series_and(names: tuple[str, ...], column: Callable[[Series], Numbers]) -> Callable[[Report], Values]:
    """Return how a table of the series is taken, whose columns have these names as the last label."""

    def take(report: Report) -> Values:
        values = column(report.series)
        wanted = [(i, name) for i, name in enumerate(names) if name != "unknown"]
        series = report.series
        known = len(series.names)
        return [
            (_with(series, row, known, name), float(values[row, i])) for row, _ in rows_of_series(report) for i, name in wanted
        ]

    return take


def has_figures(report: Report) -> bool:
    """Return whether the last snapshot had figures of open connections."""
    return report.snapshot is not None and report.snapshot.figures is not None


def queue(place: int) -> Callable[[Report], Values]:
    """Return how one of QUEUES is taken, which only dumps with figures tell."""
    take = by_series(lambda series: series.queues[:, place])
    return lambda report: take(report) if has_figures(report) else []


def open_rtt(report: Report) -> Values:
    """Take the quantiles of the round-trip times of open connections, of those label sets that have any."""
    series = report.series
    rows = [row for row, _ in rows_of_series(report) if series.rtt[row].any()]
    names = [f"{quantile:g}" for quantile in RTT_QUANTILES]
    known = len(series.names)
    return [(_with(series, row, known, name), float(series.rtt[row, i])) for row in rows for i, name in enumerate(names)]


def of_listeners(number: Callable[[Listener], int | None]) -> Callable[[Report], Values]:
    """Return how a number of the listeners is taken, of those of which it is known."""

    def take(report: Report) -> Values:
        found = (((row.port, row.process), number(row)) for row in report.listeners)
        return [(labels, float(value)) for labels, value in found if value is not None]

    return take


def leaking(state: str) -> Callable[[Report], Values]:
    """Return how the connections in a state that only one side has closed are taken, by service and process."""
    return lambda report: [
        ((leak.role, leak.port, leak.process), float(leak.sockets)) for leak in report.leaks or () if leak.state == state
    ]


def histogram_by_series(column: Callable[[Series], Histogram]) -> Callable[[Report], Rows]:
    """Return how a histogram of the series is taken."""

    def take(report: Report) -> Rows:
        return _used(column(report.series), rows_of_series(report))

    return take


def _used(histogram: Histogram, rows: Iterable[tuple[int, Labels]]) -> Rows:
    totals = histogram.totals
    return histogram, [(row, labels) for row, labels in rows if totals[row]]


def state_times(report: Report) -> Rows:
    """Take the times in each state."""
    return _used(report.state_times, [(number, (state,)) for number, state in enumerate(STATES)])


def resets_sent(report: Report) -> Values:
    """Take the resets sent by service and reason."""
    counts: dict[Labels, float] = {}
    for row, number in np.argwhere(report.series.resets_sent):
        labels = _with(report.series, int(row), 2, reset_reason(report, int(number)))
        counts[labels] = counts.get(labels, 0) + float(report.series.resets_sent[row, number])
    return counts.items()


def resets_received(report: Report) -> Values:
    """Take the resets received by service."""
    counts: dict[Labels, float] = {}
    for row in np.flatnonzero(report.series.resets_received):
        labels = _with(report.series, int(row), 2)
        counts[labels] = counts.get(labels, 0) + float(report.series.resets_received[row])
    return counts.items()


def state_changes(report: Report) -> Values:
    """Take the changes of state that happened."""
    if report.transitions is None:
        return []
    return [((STATES[a], STATES[b]), float(report.transitions[a, b])) for a, b in np.argwhere(report.transitions)]


def sockets(report: Report) -> Values:
    """Take the sockets by state."""
    return [((state,), float(count)) for state, count in (report.sockets or {}).items()]


def waiting_sockets(report: Report) -> Values:
    """Take the sockets in TIME_WAIT by destination, those of which only events tell apart."""
    parts = (("", report.snapshot.time_wait if report.snapshot else ()), (EVENTS, report.unlisted.time_wait))
    return [((name, seen), float(count)) for seen, rows in parts for name, count in rows]


def ports_used(report: Report) -> Values:
    """Take the ephemeral ports in use by destination.

    The namespace is named where its limit is another one than ephemeral_ports_limit without a namespace, or not known.
    """
    used: dict[Labels, float] = {}
    limit = report.snapshot.ports_limit if report.snapshot else None
    for use in (*(report.snapshot.ports if report.snapshot else ()), *report.unlisted.ports):
        netns = "" if use.limit is not None and use.limit == limit else str(use.netns or "unknown")
        labels = use.destination, netns, EVENTS if use.seen == EVENTS else ""
        used[labels] = max(used.get(labels, 0), float(use.used))  # a destination can occur once in each namespace
    others = ((report.snapshot.ports_other if report.snapshot else None, ""), (report.unlisted.ports_other, EVENTS))
    used |= {(OTHER, "", seen): float(most) for most, seen in others if most is not None}
    return used.items()


def ports_limit(report: Report) -> Values:
    """Take how many ephemeral ports there are: in the own namespace, without its name, and where there are not so many."""
    snapshot = report.snapshot
    if snapshot is None or snapshot.ports_limit is None:
        return []
    others = [((str(netns),), float(limit)) for netns, limit in snapshot.other_limits]
    return [(("",), float(snapshot.ports_limit)), *others]


def namespaces(report: Report) -> Values:
    """Take how many network namespaces are seen, by what tells of their sockets."""
    if report.snapshot is None:
        return []
    listed = len(report.snapshot.namespaces) + report.snapshot.unnamed
    return [(("sockets",), float(listed)), ((EVENTS,), float(len(report.unlisted.namespaces)))]


def records_by_kind(report: Report) -> Values:
    """Take the records by kind."""
    return [((kind,), float(report.events[number])) for number, kind in enumerate(KINDS) if kind != "unknown"]


def known(number: Callable[[Report], float | None]) -> Callable[[Report], Values]:
    """Return how a single number is taken, which may not be known."""

    def take(report: Report) -> Values:
        value = number(report)
        return [] if value is None else [((), float(value))]

    return take


def of_snapshot(number: Callable[[Snapshot], float | None]) -> Callable[[Report], Values]:
    """Return how a number of the snapshot is taken."""
    return known(lambda report: number(report.snapshot) if report.snapshot else None)


def containers(report: Report) -> Values:
    """Take whose the label sets are."""
    return [((found.name, found.container_id, found.pod_uid, found.unit), 1.0) for found in report.workloads]


def build(report: Report) -> Values:
    """Take what is running."""
    return [((__version__, report.context.kernel, report.context.bcc, report.context.reads), 1.0)]


def audited(number: Callable[[AuditLine], int | None]) -> Callable[[Report], Values]:
    """Return what gives a figure of each of the kernel's counters that has it."""
    return lambda report: [((line.counter,), float(value)) for line in report.audit if (value := number(line)) is not None]


def by_program(number: Callable[[Program], float]) -> Callable[[Report], Values]:
    """Return how a program's figure is taken."""
    return lambda report: [((program.name,), float(number(program))) for program in report.programs]
