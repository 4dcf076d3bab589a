"""Which label sets have series of their own in one form of /metrics, so that it has at most so many samples.

The model knows thousands of sets; --max-series bounds samples, as many as each set has at the moment (a native histogram is one
sample, a classic one thirty). Sets that find no place are summed in the `other` of their role. What a set has shown before it
leaves (it gave way, or was idle for too long) is moved to a second `other` of its role, with the label left="yes", and nothing
else is: so the sums over all series are the truth at any time, no series falls, and rate() over the series without
that label counts nothing twice. A set that gets its place back begins at 0.

Kept apart for each form, as a scraper of native histograms has room for more.
"""

from __future__ import annotations

import weakref
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.sets import is_in
from tracer.model.naming import OTHER
from tracer.model.report import Report, Series
from tracer.model.tcp import ROLES
from tracer.model.tenure import HALF_LIFE_NS, weights
from tracer.outputs.limits import BRIEF
from tracer.outputs.matrix import Matrix, pack, summed, taken, unpack
from tracer.outputs.metrics import METRICS, HistogramMetric, L
from tracer.outputs.samples import HISTOGRAM_SAMPLES, LEFT

Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]

NEW_SHARE = 0.25
"""Of the room for sets, what those that came within HALF_LIFE_NS have before all others; two sets, a service's, at least."""

LIVES = 4.0
"""How many times heavier a set counts while it has open connections, or somebody listens for it."""

STAYS = 2.0
"""How many times heavier a set has to be to take the place of one that has series."""

PROCESS_SAMPLES = 8
"""Of this process's own, at most."""

_VARYING = {"resets_sent_total", "resets_received_total", "container_info"}
"""Metrics that have samples for label sets, although not with all of their labels."""


class Budget:
    """Of each Report what is exported. max_series: samples at most, None for all; native: whether a histogram is one sample."""

    def __init__(self, max_series: int | None, *, native: bool = False) -> None:
        self._max = max_series
        self._histogram = 1 if native else HISTOGRAM_SAMPLES
        self._last: weakref.ref[Series] | None = None
        self._shown: Series
        self._values: Matrix
        self._roles: Rows
        self._own: dict[int, int] = {}
        self._base: dict[int, Matrix] = {}
        self._left: Matrix | None = None
        self._others: Matrix | None = None
        self._seen: dict[int, int] = {}
        self._newest = 0
        self._overflowed = 0

    def of(self, report: Report) -> Report:
        """Return the report with the series that are exported; reports come in their order, and one may come twice."""
        if self._max is None:
            return report
        if self._max < BRIEF and self._histogram > 1:
            times = report.state_times
            report = replace(report, state_times=replace(times, counts=np.zeros_like(times.counts)))
        if self._last is None or self._last() is not report.series:
            chosen = self._choose(report)
            self._count_overflow(report.series, chosen)
            self._shown = self._split(report.series, chosen)
        shown = self._shown
        at = shown.names.index("container") if "container" in shown.names else None
        containers = {labels[at] for labels in shown.labels} if at is not None else set()
        workloads = tuple(found for found in report.workloads if found.name in containers)
        return replace(report, series=shown, workloads=workloads, label_overflow=report.label_overflow + self._overflowed)

    def _choose(self, report: Report) -> Rows:
        """Return the rows of the sets that have series, in their order."""
        series = report.series
        sets = np.flatnonzero(series.serials)
        costs = self._costs(report)
        others = 2 * len({labels[0] for labels in series.labels[1:]})
        resets = np.count_nonzero(series.resets_sent.any(axis=0)) + 1
        most = self._plain(report) + len(_HISTOGRAMS) * self._histogram + resets
        room = (self._max or 0) - self._fixed(report) - others * most
        if costs[sets].sum() <= room:
            return sets
        lives = (series.connections[sets] > 0) | series.listens[sets]
        weight = weights(series.records[sets], np.where(lives, 0, report.time_ns - series.active_ns[sets]))
        weight[lives] *= LIVES
        weight[is_in(series.serials[sets], list(self._own))] *= STAYS
        order = sets[np.argsort(-weight, kind="stable")]
        serials = series.serials[order]
        new = report.time_ns - series.born_ns[order] < HALF_LIFE_NS
        # the newest first; those that no report has had yet by their weight
        newest = np.argsort(-np.minimum(serials, self._newest + 1), kind="stable")
        share = float(min(room, max(room * NEW_SHARE, 2 * most)))
        first = _fitting(order[newest[new[newest]]], costs, share)
        rest = order[~is_in(order, first)]
        chosen = np.concatenate([first, _fitting(rest, costs, room - costs[first].sum())])
        return np.sort(chosen)

    def _costs(self, report: Report) -> NDArray[np.intp]:
        """Return how many samples each row has, shape (rows,)."""
        series = report.series
        costs = np.full(len(series.labels), self._plain(report), np.intp)
        for metric in _HISTOGRAMS:
            _, rows = metric.take(report)
            costs[[row for row, _ in rows]] += self._histogram
        costs += np.count_nonzero(series.resets_sent, axis=1) + (series.resets_received > 0)
        costs += np.count_nonzero(series.rtt, axis=1)
        return costs + ("container" in series.names)

    def _plain(self, report: Report) -> int:
        """Return how many samples a set has besides histograms, and those that vary."""
        any_labels = (("client", *report.series.labels[0][1:]),)
        one = replace(report, series=replace(taken(report.series, np.array([0])), labels=any_labels))
        return sum(len(list(metric.take(one))) for metric in METRICS if L in metric.labels and metric not in _HISTOGRAMS)

    def _fixed(self, report: Report) -> int:
        """Return how many samples there are that are of no label set."""
        count = PROCESS_SAMPLES
        for metric in METRICS:
            if L in metric.labels or metric.name in _VARYING:
                continue
            if isinstance(metric, HistogramMetric):
                count += self._histogram * len(metric.take(report)[1])
            else:
                count += len(list(metric.take(report)))
        return count

    def _count_overflow(self, series: Series, chosen: Rows) -> None:
        """Count the records of sets that have no series since the last report."""
        records = dict(zip(series.serials.tolist(), series.records.tolist(), strict=True))
        if len(chosen) < np.count_nonzero(series.serials):
            shown = set(series.serials[chosen].tolist())
            hidden = ((serial, count) for serial, count in records.items() if serial and serial not in shown)
            self._overflowed += sum(count - self._seen.get(serial, 0) for serial, count in hidden)
        self._seen = records

    def _split(self, series: Series, chosen: Rows) -> Series:
        """Return the exported series of a Series, and remember what they are."""
        self._let_go(series, chosen)
        serials = series.serials[chosen].tolist()
        for row, serial in zip(chosen.tolist(), serials, strict=True):
            if serial not in self._own and serial <= self._newest:  # it was part of `other` until now
                self._base[serial] = pack(series, np.array([row]))[0]
        self._own = {serial: at for at, serial in enumerate(serials)}
        self._values, self._roles = pack(series, chosen), _roles(series, chosen)
        self._newest = max(self._newest, int(series.serials.max(initial=0)))
        self._last = weakref.ref(series)
        if len(chosen) == np.count_nonzero(series.serials) and not self._base and self._left is None:
            return series
        return self._summed(series, chosen)

    def _let_go(self, series: Series, chosen: Rows) -> None:
        """Add what the sets have shown that have no series any more to what has left, by their role."""
        gone = self._own.keys() - set(series.serials[chosen].tolist())
        for serial in gone:
            at = self._own[serial]
            if self._left is None:
                self._left = np.zeros((len(ROLES), self._values.shape[1]))
            self._left[self._roles[at]] += self._values[at] - self._base.pop(serial, 0)

    def _summed(self, series: Series, chosen: Rows) -> Series:
        """Return what has left, `other` by role, and the chosen sets less what was in `other` before."""
        own = self._values.copy()
        for at, serial in enumerate(series.serials[chosen].tolist()):
            if serial in self._base:
                own[at] -= self._base[serial]
        role_of = _roles(series, np.arange(len(series.labels)))
        others = np.stack([summed(series, role_of == role) for role in range(len(ROLES))])
        np.subtract.at(others, _roles(series, chosen), own)
        left = np.zeros_like(others) if self._left is None else self._left
        # sums of seconds are rounded differently every time: no sample may fall, by however little
        others = np.maximum(others - left, 0 if self._others is None else self._others)
        self._others = others
        rows = np.concatenate([np.zeros(_HEAD, np.intp), chosen])
        like = _labelled(taken(series, rows), series, chosen)
        whole = unpack(np.concatenate([left, others, own]), like)
        sums = np.concatenate([left, others])
        head = [at for at in range(_HEAD) if sums[at].any() or whole.connections[at]]
        return taken(whole, np.array([*head, *range(_HEAD, len(rows))], np.intp))


def _labelled(like: Series, series: Series, chosen: Rows) -> Series:
    """Return series with what has left of each role at their head, then the `other` of each role, with its open connections."""
    more = (OTHER,) * (len(series.names) - 1)
    connections, queues, rtt = like.connections.copy(), like.queues.copy(), like.rtt.copy()
    connections[:_HEAD], queues[:_HEAD], rtt[:_HEAD] = 0, 0, 0
    hidden = np.flatnonzero(~is_in(np.arange(len(series.labels)), chosen))
    np.add.at(connections, len(ROLES) + _roles(series, hidden), series.connections[hidden])
    np.add.at(queues, len(ROLES) + _roles(series, hidden), series.queues[hidden])
    gone, others = [(role, *more, LEFT) for role in ROLES], [(role, *more) for role in ROLES]
    serials = like.serials.copy()
    serials[:_HEAD] = 0
    labels = (*gone, *others, *like.labels[_HEAD:])
    return replace(like, labels=labels, connections=connections, queues=queues, rtt=rtt, serials=serials)


def _roles(series: Series, rows: Rows) -> Rows:
    """Return the number of the role of some rows; of OTHER_ROW, where nothing is counted, any."""
    return np.array([_ROLE_OF.get(series.labels[row][0], 0) for row in rows.tolist()], np.intp)


def _fitting(rows: Rows, costs: NDArray[np.intp], room: float) -> Rows:
    """Return the first of these rows, as many as there is room for."""
    return rows[np.cumsum(costs[rows]) <= room]


_HEAD = 2 * len(ROLES)
_ROLE_OF = {role: number for number, role in enumerate(ROLES)}
_HISTOGRAMS = [metric for metric in METRICS if isinstance(metric, HistogramMetric) and L in metric.labels]
