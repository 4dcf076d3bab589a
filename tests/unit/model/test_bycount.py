from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from tests.unit.model.builder import CONTEXT, SECOND, events, reading
from tests.unit.model.dumps import OWN
from tests.unit.model.ordinary import PLACES, UNLISTED, places, times, world
from tracer.ingest.counted import TIMED_STATES, Counted, Times
from tracer.ingest.figures import FIGURES
from tracer.ingest.snapshot import Moment, OpenService, PortUse, Snapshot
from tracer.model.histogram import Histogram, quantile
from tracer.model.labels import NEW_AT_ONCE
from tracer.model.report import Report, Series
from tracer.model.tcp import KIND
from tracer.model.totals import Model
from tracer.model.unlisted import EventSockets

WHEN = {"born_ns", "active_ns"}
"""Of series: when records were counted, which is by batches."""


def assert_equal(one: object, other: object, what: str) -> None:
    if isinstance(one, Histogram) and isinstance(other, Histogram):
        assert_equal(one.counts, other.counts, f"{what}.counts")
        assert_equal(one.maxima, other.maxima, f"{what}.maxima")
        np.testing.assert_allclose(one.sums, other.sums, rtol=1e-9, err_msg=what)
    elif isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, other, err_msg=what)
    else:
        assert one == other, what


def by_label(series: Series, name: str) -> object:
    """Return a member of series with its rows in the order of their labels."""
    order = np.array(sorted(range(len(series.labels)), key=series.labels.__getitem__))
    found = getattr(series, name)
    if isinstance(found, Histogram):
        return Histogram(found.counts[order], found.sums[order], found.maxima[order])
    return found[order] if isinstance(found, np.ndarray) else sorted(found)


def assert_same(counted: Report, recorded: Report, *, when: bool) -> None:
    for field in fields(Series):
        if field.name != "serials" and (when or field.name not in WHEN):
            assert_equal(by_label(counted.series, field.name), by_label(recorded.series, field.name), field.name)
    for field in fields(Report):
        if field.name not in {"series", "who"}:
            assert_equal(getattr(counted, field.name), getattr(recorded, field.name), field.name)


def models(**options: Any) -> tuple[Model, Model]:
    one, other = (Model(CONTEXT, start_ns=0, whose=False, **options) for _ in range(2))
    return one, other


def looked(time_ns: int, opened: int, closed: int = 0, *, place: int = 0, time_waits: int = 0) -> Counted:
    """Return what one look has counted at one of PLACES: connections of a millisecond each."""
    some, none = (np.full(n, 1_000_000, np.uint64) for n in (closed, 0))
    return Counted(
        time_ns=time_ns,
        places=places()[[place]],
        handshakes=times(np.zeros(opened, np.intp), np.full(opened, 1_000_000, np.uint64), 1),
        durations=times(np.zeros(closed, np.intp), some, 1),
        srtt=times(np.zeros(0, np.intp), none, 1),
        time_waits=np.array([time_waits], np.uint64),
        figures=np.zeros((1, len(FIGURES)), np.uint64),
        states=times(np.zeros(0, np.intp), none, TIMED_STATES),
    )


def dumped(found: int, at: int) -> Snapshot:
    """Return a snapshot of a dump that took from half a second before a time to half a second after it."""
    moment = Moment(OWN, at - SECOND // 2, at + SECOND // 2)
    return Snapshot(time_ns=moment.end_ns, namespaces=(OWN,), open=(OpenService(OWN, "client", 443, found),), moments=(moment,))


@pytest.mark.parametrize("labels", [(), ("netns",)])
@pytest.mark.parametrize(("seed", "every"), [(1, 1), (2, 1), (3, 7)])
def test_what_is_counted_is_reported_as_if_it_had_records(seed: int, every: int, labels: tuple[str, ...]) -> None:
    connections = world(seed)
    assert connections.counted_begin.mean() > 0.5
    assert connections.counted_end.sum() > 500
    by_count, by_record = models(labels=labels, label_ttl=3600 if every == 1 else None)  # without, batches are larger
    pairs = zip(connections.readings(counts=True), connections.readings(counts=False), strict=True)
    for number, (few, all_) in enumerate(pairs, 1):
        by_count.add(few)
        by_record.add(all_)
        if number % every == 0:
            assert_same(by_count.report(), by_record.report(), when=every == 1)
    report = by_count.report()
    assert (report.unseen_beginnings, report.unseen_ends, report.label_overflow) == (0, 0, 0)
    assert report.unlisted.ports
    assert report.unlisted.time_wait
    assert report.series.connections.sum() > 100
    assert report.events[KIND["close"]] > 1000


def test_of_label_sets_that_leave_and_come_back_no_sum_differs() -> None:
    connections, found = world(4), []
    for model, counts in zip(models(labels=("netns",), max_sets=3), (True, False), strict=True):
        for each in connections.readings(counts=counts):
            model.add(each)
        assert model.report().label_overflow > 0
        found.append([sums(model.report().series, role) for role in ("client", "server")])
    assert found[0] == found[1]


def sums(series: Series, role: str) -> list[Any]:
    """Return what was counted in a role, whatever its other labels are."""
    rows = np.array([row for row, labels in enumerate(series.labels) if labels[0] == role])
    columns = (series.handshakes, series.connections, series.closes, series.time_waits, series.sent_bytes, series.busy_us)
    times = (series.handshake_times, series.connection_times, series.srtt)
    return [
        *(column[rows].sum(axis=0).tolist() for column in columns),
        *((of.merged(rows).counts.tolist(), of.merged(rows).maxima.tolist()) for of in times),
    ]


def test_of_a_set_that_has_come_back_quantiles_are_those_of_the_buckets() -> None:
    model, _ = models()
    model.add(reading(counted=(looked(SECOND, 5, 5),)))
    series = model.report().series
    row = series.labels.index(("client", "443"))
    for histogram in (series.handshake_times, series.connection_times):
        assert quantile(histogram.of(slice(row, row + 1)), 0.5)[0] == pytest.approx(0.001, rel=0.09)
        assert histogram.maxima[row] <= 1_000_000


@pytest.mark.parametrize("found", [20 - 5, 20 - 4])
def test_what_is_counted_before_a_dump_and_after_it_is_told_apart(found: int) -> None:
    """20 are open before it, of one more it may have seen the end, and then come those that it cannot have."""
    model, _ = models()
    model.add(reading(time_ns=SECOND, snapshot=dumped(0, SECOND // 2)))
    before, after = looked(2 * SECOND, 20, 4), looked(5 * SECOND, 7, 2)
    end = events("close", netns=OWN, time_ns=4 * SECOND)
    model.add(reading(end, time_ns=5 * SECOND, counted=(before, after), snapshot=dumped(found, 4 * SECOND)))
    report = model.report()
    assert (report.unseen_beginnings, report.unseen_ends) == (0, 0)
    assert report.series.connections.sum() == 20 - 4 - 1 + 7 - 2


def test_a_wrong_count_is_put_right_by_what_was_counted_around_the_dump() -> None:
    model, _ = models()
    model.add(reading(time_ns=SECOND, snapshot=dumped(0, SECOND // 2)))
    looks = looked(2 * SECOND, 20, 4), looked(5 * SECOND, 7, 2)
    model.add(reading(time_ns=5 * SECOND, counted=looks, snapshot=dumped(13, 4 * SECOND)))
    report = model.report()
    assert report.unseen_ends == 3
    assert report.series.connections.sum() == 13 + 7 - 2


def test_the_end_of_a_counted_connection_may_have_a_record_in_the_same_reading() -> None:
    """Also where no dump would put it right."""
    model, _ = models()
    end = events("close", 3, netns=UNLISTED[0], time_ns=SECOND)
    model.add(reading(end, time_ns=SECOND, counted=(looked(SECOND, 5, 1, place=6),)))
    assert model.report().series.connections.sum() == 1


def test_ports_and_timewait_objects_of_namespaces_that_are_not_listed_are_counted() -> None:
    model, _ = models()
    model.add(reading(time_ns=1, snapshot=Snapshot(time_ns=1, namespaces=(OWN,))))
    client, server, listed = PLACES.index((UNLISTED[0], "client", "10.2.0.1", "192.0.2.1", 443)), 7, 0
    looks = looked(SECOND, 23, 7, place=client, time_waits=5), looked(SECOND, 9, 9, place=server, time_waits=2)
    model.add(reading(time_ns=2 * SECOND, counted=(*looks, looked(2 * SECOND, 5, place=listed))))
    found = model.report().unlisted
    assert found.namespaces == (UNLISTED[0],)
    assert dict(found.time_wait) == {"192.0.2.1:443": 5, "10.2.0.1:5432": 2}
    assert found.ports == (PortUse(UNLISTED[0], "10.2.0.1", "192.0.2.1:443", 16 + 5, None, seen="events"),)
    for seconds, left in ((61, 7), (63, 0)):
        model.add(reading(time_ns=seconds * SECOND))
        assert sum(number for _, number in model.report().unlisted.time_wait) == left


def test_a_namespace_is_told_of_for_a_minute_and_not_what_was_counted_while_it_was_listed() -> None:
    server, listed = 7, 0
    looks = looked(SECOND, 5, 2, place=listed, time_waits=2), looked(SECOND, 9, 3, place=server)
    model, _ = models()
    model.add(reading(time_ns=1, snapshot=Snapshot(time_ns=1, namespaces=(OWN,))))
    model.add(reading(time_ns=SECOND, counted=looks))
    model.add(reading(time_ns=2 * SECOND, snapshot=Snapshot(time_ns=2 * SECOND, namespaces=())))
    assert model.report().unlisted == EventSockets((UNLISTED[0],))
    model.add(reading(time_ns=62 * SECOND))
    assert model.report().unlisted == EventSockets()


def test_of_more_places_than_find_room_at_once_all_connections_count_as_other() -> None:
    model, _ = models()
    one, n = looked(SECOND, 3, 2), NEW_AT_ONCE + 23
    many: dict[str, Any] = {name: np.repeat(getattr(one, name), n, axis=0) for name in ("places", "time_waits", "figures")}
    many["places"]["port"] = np.arange(1, n + 1)
    for name in ("handshakes", "durations", "srtt"):
        of = getattr(one, name)
        many[name] = Times(*(np.repeat(each, n, axis=0) for each in (of.counts, of.sums, of.most)))
    model.add(reading(counted=(replace(one, **many),)))
    report = model.report()
    assert report.label_overflow == 23 * 5
    assert report.series.handshakes.sum() == n * 3
