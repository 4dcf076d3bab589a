"""What happened lately to each service: second by second for a minute, and in steps of ten seconds for ten minutes.

Theory of operation. Each Report is compared with the one before, and what has grown is kept: of label sets that did something,
their counts and the buckets of their handshake times that were hit. A span is a sum over the latest of these. What a set that
leaves brings to the `other` of its role is no growth.

Whole Reports would do as well, and weigh 20 MB each. With 2,048 sets that all do something each second a minute takes some
25 MB and the ten minutes 3 MB; with 20 services it is 300 kB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.sets import is_in
from tracer.model.audit import AuditLine
from tracer.model.histogram import BUCKETS, Histogram, stacked, upper_maxima
from tracer.model.naming import OTHER
from tracer.model.report import Report, Series, Service, named
from tracer.model.tcp import CLOSE_REASONS, FAILURE_REASONS, RETRANSMIT_KINDS, ROLE

MINUTE_SECONDS = 60.0
STEP_SECONDS = 10.0
STEPS = 60
"""Steps that are kept: ten minutes."""

TRENDS = ("handshakes", "failures", "retransmitted")
"""The columns of a step."""

_COUNTS = ("handshakes", "failures", "closes", "retransmitted")
_BYTES = ("sent_bytes", "received_bytes")
_WIDTHS = (1, len(FAILURE_REASONS), len(CLOSE_REASONS), len(RETRANSMIT_KINDS))
_ENDS = tuple(int(end) for end in np.cumsum(_WIDTHS))
_SLICES = {name: slice(end - width, end) for name, width, end in zip(_COUNTS, _WIDTHS, _ENDS, strict=True)}

Ids = NDArray[np.int64]
Count = TypeVar("Count", np.uint32, np.uint64)
Key = tuple[str, ...]


@dataclass(frozen=True)
class State:
    """What was counted up to a Report, a row for each label set, sorted by ids; roles: by number.

    counts: columns of _SLICES, then _BYTES. times: handshake times by bucket, modulo 2**32, as only growth is asked of them.
    """

    ids: Ids
    roles: NDArray[np.int64]
    counts: NDArray[np.uint64]
    times: NDArray[np.uint32]


@dataclass(frozen=True)
class Interval:
    """What grew between two Reports. ids: of the sets that did something, sorted; counts: as in State, shape (k, columns).

    cells: row times BUCKETS plus bucket, of handshake times, shape (m,); hits: how many, shape (m,).
    """

    seconds: float
    ids: Ids
    counts: NDArray[np.uint32]
    carried: NDArray[np.float64]
    cells: NDArray[np.int32]
    hits: NDArray[np.uint32]


@dataclass(frozen=True)
class SpanStep:
    """Some ten seconds. counts: columns of TRENDS, shape (k, 3)."""

    seconds: float
    ids: Ids
    counts: NDArray[np.float32]


@dataclass(frozen=True)
class Spans:
    """The last minute and the last ten, up to a Report. last: what was counted then; intervals, steps: the latest last.

    audit: as of then. drifts: of it, by counter, as far as the Report before had them too: what is under way has been counted
    by one side first, and says nothing.
    """

    seconds: float
    last: State
    intervals: tuple[Interval, ...] = ()
    steps: tuple[SpanStep, ...] = ()
    audit: tuple[AuditLine, ...] = ()
    drifts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Lately:
    """A service in a span. sent_rate, received_rate: bytes a second."""

    service: Service
    sent_rate: float
    received_rate: float


def spans(report: Report, earlier: Spans | None = None) -> Spans:
    """Return the spans up to a Report; without earlier ones, the first interval began with the tracing."""
    now = _state(report.series)
    seconds = report.duration_seconds - (earlier.seconds if earlier else 0.0)
    interval = _grown(earlier.last if earlier else _NOTHING, now, seconds)
    kept = (*(earlier.intervals if earlier else ()), interval)
    steps = _stepped(earlier.steps if earlier else (), interval)
    drifts = _lasting_drifts(report.audit, earlier.audit if earlier else ())
    return Spans(report.duration_seconds, now, _latest(kept, MINUTE_SECONDS), steps, report.audit, drifts)


def _lasting_drifts(now: Sequence[AuditLine], before: Sequence[AuditLine]) -> dict[str, int]:
    then = {line.counter: line.drift or 0 for line in before}
    both = {line.counter: (line.drift or 0, then.get(line.counter, 0)) for line in now}
    return {name: min(drifts, key=abs) for name, drifts in both.items() if drifts[0] * drifts[1] > 0}


def lately(past: Spans, report: Report, seconds: float) -> tuple[list[Lately], float]:
    """Return what label sets did in the last so many seconds, those that did something, and how many these were.

    Whole intervals count.
    """
    intervals = _latest(past.intervals, seconds)
    length = sum(interval.seconds for interval in intervals)
    series, ids = report.series, _ids(report.series)
    order = np.argsort(ids)
    counts, carried = np.zeros((len(ids), _ENDS[-1]), np.uint64), np.zeros((len(ids), len(_BYTES)))
    times = np.zeros((len(ids), BUCKETS), np.uint64)
    for interval in intervals:
        rows, known = _places(ids[order], interval.ids)
        rows = order[rows]
        counts[rows[known]] += interval.counts[known]
        carried[rows[known]] += interval.carried[known]
        inside = known[interval.cells // BUCKETS]
        cells = rows[interval.cells // BUCKETS] * BUCKETS + interval.cells % BUCKETS
        times.reshape(-1)[cells[inside]] += interval.hits[inside]
    active = np.flatnonzero(counts.any(axis=1) | carried.any(axis=1))
    maxima = upper_maxima(times[active], series.handshake_times.maxima[active])
    histograms = Histogram(times[active], np.zeros(len(active)), maxima)
    rates = carried / length if length else carried
    found = [
        Lately(_service(series, row, counts[row], histograms.of(slice(at, at + 1))), *rates[row].tolist())
        for at, row in enumerate(active.tolist())
    ]
    return found, length


def together(group: Sequence[Service]) -> Service:
    """Return the sums of several services, of whatever span."""

    def added(column: str) -> dict[str, int]:
        sums: dict[str, int] = {}
        for service in group:
            for name, count in getattr(service, column).items():
                sums[name] = sums.get(name, 0) + count
        return sums

    return Service(
        OTHER,
        "",
        sum(service.handshakes for service in group),
        sum(service.connections for service in group),
        added("failures"),
        added("closes"),
        added("retransmitted"),
        stacked([service.times for service in group]).merged(np.arange(len(group))),
    )


def trends(past: Spans, series: Series) -> dict[Key, NDArray[np.float32]]:
    """Return how many a second of TRENDS each label set had in each step, by its labels, shape (steps, 3), oldest first.

    A last step that has only just begun is shown as one with that before, as its rate would say little.
    """
    steps = past.steps
    if len(steps) > 1 and steps[-1].seconds < STEP_SECONDS / 2:
        steps = (*steps[:-2], _joined(*steps[-2:]))
    ids = _ids(series)
    order = np.argsort(ids)
    found = np.zeros((len(ids), len(steps), len(TRENDS)), np.float32)
    for at, step in enumerate(steps):
        rows, known = _places(ids[order], step.ids)
        found[order[rows[known]], at] = step.counts[known] / max(step.seconds, 1e-9)
    return dict(zip(series.labels, found, strict=True))


def _service(series: Series, row: int, counts: NDArray[np.uint64], times: Histogram) -> Service:
    key = series.labels[row]
    failures, closes, kinds = (
        named(names, counts[_SLICES[column]])
        for names, column in ((FAILURE_REASONS, "failures"), (CLOSE_REASONS, "closes"), (RETRANSMIT_KINDS, "retransmitted"))
    )
    labels = tuple(zip(series.names[2:], key[2:], strict=False))
    return Service(key[0], key[1], int(counts[0]), int(series.connections[row]), failures, closes, kinds, times, labels)


def _ids(series: Series) -> Ids:
    """Return what tells label sets apart in different Reports, shape (rows,): the serial, below 0 for those of roles."""
    numbers = [-1 - ROLE.get(labels[0], len(ROLE)) for labels in series.labels]
    return np.where(series.serials > 0, series.serials, np.array(numbers, np.int64))


def _state(series: Series) -> State:
    ids = _ids(series)
    order = np.argsort(ids)
    columns = [getattr(series, name).reshape(len(ids), -1) for name in (*_COUNTS, *_BYTES)]
    roles = np.array([ROLE.get(labels[0], len(ROLE)) for labels in series.labels], np.int64)
    times = series.handshake_times.counts.astype(np.uint32)[order]
    return State(ids[order], roles[order], np.concatenate(columns, axis=1)[order], times)


_NOTHING = State(
    np.empty(0, np.int64),
    np.empty(0, np.int64),
    np.empty((0, _ENDS[-1] + len(_BYTES)), np.uint64),
    np.empty((0, BUCKETS), np.uint32),
)


def _grown(before: State, now: State, seconds: float) -> Interval:
    if np.array_equal(before.ids, now.ids) and np.array_equal(before.counts, now.counts):
        return _idle(seconds)
    growth = _growth(before, now, before.counts, now.counts)
    rows = np.flatnonzero(growth.any(axis=1))
    hits = _growth(before, now, before.times, now.times, rows)
    places, buckets = hits.nonzero()
    return Interval(
        seconds,
        now.ids[rows],
        growth[rows, : _ENDS[-1]].astype(np.uint32),
        growth[rows, _ENDS[-1] :].astype(np.float64),
        (places * BUCKETS + buckets).astype(np.int32),
        hits[places, buckets],
    )


def _idle(seconds: float) -> Interval:
    none = np.empty(0, np.int64)
    counts, carried = np.empty((0, _ENDS[-1]), np.uint32), np.empty((0, len(_BYTES)))
    return Interval(seconds, none, counts, carried, none.astype(np.int32), none.astype(np.uint32))


def _growth(
    before: State, now: State, old: NDArray[Count], new: NDArray[Count], rows: NDArray[np.intp] | None = None
) -> NDArray[Count]:
    """Return how much columns have grown, of all rows of now or of some; what sets that left have brought is no growth."""
    some = np.arange(len(now.ids)) if rows is None else rows
    ids, roles = now.ids[some], now.roles[some]
    base = np.zeros((len(ids), new.shape[1]), new.dtype)
    places, known = _places(before.ids, ids)
    base[known] = old[places[known]]
    gone = np.flatnonzero(~is_in(before.ids, now.ids))
    for row in np.flatnonzero(ids < 0).tolist() if len(gone) else ():
        base[row] += old[gone[before.roles[gone] == roles[row]]].sum(axis=0, dtype=new.dtype)
    grown = new[some] - base
    return np.where(grown > np.iinfo(new.dtype).max // 2, 0, grown)  # what is below 0 has wrapped


def _places(ids: Ids, wanted: Ids) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return where sorted ids have the wanted ones, and which of these they have, shape (n,) each."""
    if not len(ids):
        return np.zeros(len(wanted), np.intp), np.zeros(len(wanted), bool)
    places = np.searchsorted(ids, wanted).clip(max=len(ids) - 1)
    return places, ids[places] == wanted


def _latest(intervals: tuple[Interval, ...], seconds: float) -> tuple[Interval, ...]:
    """Return the last ones that together have so many seconds, within half an interval; at least one, where there is one."""
    total, kept = 0.0, 0
    for interval in reversed(intervals):
        if kept and total + interval.seconds / 2 > seconds:
            break
        total, kept = total + interval.seconds, kept + 1
    return intervals[len(intervals) - kept :]


def _stepped(steps: tuple[SpanStep, ...], interval: Interval) -> tuple[SpanStep, ...]:
    sums = [interval.counts[:, _SLICES[name]].sum(axis=1) for name in TRENDS]
    step = SpanStep(interval.seconds, interval.ids, np.stack(sums, axis=1).astype(np.float32))
    if steps and steps[-1].seconds + interval.seconds / 2 < STEP_SECONDS:
        return (*steps[:-1], _joined(steps[-1], step))
    return (*steps, step)[-STEPS:]


def _joined(one: SpanStep, other: SpanStep) -> SpanStep:
    ids, rows = np.unique(np.concatenate([one.ids, other.ids]), return_inverse=True)
    counts = np.zeros((len(ids), len(TRENDS)), np.float32)
    np.add.at(counts, rows, np.concatenate([one.counts, other.counts]))
    return SpanStep(one.seconds + other.seconds, ids, counts)
