"""The last ten seconds, minute and ten minutes, with the clock of the readings."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from tests.unit.model.builder import CONTEXT, SECOND, events, reading
from tracer.ingest.decode import Events
from tracer.model.report import Report
from tracer.model.spans import STEPS, Lately, Spans, lately, spans, trends
from tracer.model.totals import Model

WEB = ("client", "443")


def run(*seconds: Sequence[Events], model: Model | None = None) -> tuple[Spans, Report]:
    """Return the spans after each second with these records, and the last Report."""
    model = model or Model(CONTEXT, start_ns=0)
    past: Spans | None = None
    for second, batches in enumerate(seconds, 1):
        model.add(reading(*batches, time_ns=second * SECOND))
        past = spans(model.report(), past)
    assert past is not None
    return past, model.report()


def web(past: Spans, report: Report, seconds: float) -> Lately | None:
    """Return what a client of port 443 did, None for nothing."""
    found, _ = lately(past, report, seconds)
    return next((one for one in found if one.service.key == WEB), None)


def test_a_fault_is_in_both_spans_at_once_and_leaves_each_when_its_time_is_over() -> None:
    calm = [events("handshake", 2)]
    fault = [*calm, events("retransmit", 3, segments=1, retransmit_kind="timeout"), events("failure", error=errno.ETIMEDOUT)]
    for after, in_ten, in_sixty in ((0, True, True), (9, True, True), (10, False, True), (59, False, True), (60, False, False)):
        past, report = run(*[calm] * 5, fault, *[calm] * after)
        for seconds, seen in ((10, in_ten), (60, in_sixty)):
            one = web(past, report, seconds)
            assert one is not None
            assert (one.service.segments, one.service.failed) == ((3, 1) if seen else (0, 0)), (after, seconds)


def test_a_span_has_the_counts_of_its_seconds_alone() -> None:
    past, report = run(*([events("handshake", n, handshake_ns=1_000_000 * n)] for n in range(1, 31)))
    ten, all_of_it = web(past, report, 10), web(past, report, 60)
    assert ten is not None
    assert all_of_it is not None
    service = ten.service
    assert service.handshakes == sum(range(21, 31))
    assert all_of_it.service.handshakes == sum(range(1, 31))
    assert 0.020 <= (service.quantile(0.01) or 0) <= 0.022
    assert 0.029 <= (service.quantile(1) or 0) <= 0.03


def test_how_long_the_span_is_is_told() -> None:
    past, report = run(*[[events("handshake")]] * 5)
    assert lately(past, report, 10)[1] == 5
    assert lately(past, report, 3)[1] == 3


def test_rates_are_of_the_span() -> None:
    past, report = run([], [events("handshake", 1), events("close", 1, sent_bytes=1000, received_bytes=500)], [], [])
    assert web(past, report, 2) is None
    one = web(past, report, 4)
    assert one is not None
    assert (one.sent_rate, one.received_rate) == (250, 125)


def test_a_set_that_leaves_does_not_happen_again_in_other() -> None:
    model = Model(CONTEXT, start_ns=0, label_ttl=3)
    past, report = run([events("handshake", 5), events("close", 5)], *[[]] * 9, model=model)
    labels = list(report.series.labels)
    assert WEB not in labels
    assert ("client", "other") in labels
    assert [one.service.key for one in lately(past, report, 60)[0]] == []
    assert report.series.handshakes.sum() == 5


def test_a_set_that_comes_back_is_another_one() -> None:
    model = Model(CONTEXT, start_ns=0, label_ttl=3)
    past, report = run([events("handshake", 5), events("close", 5)], *[[]] * 9, [events("handshake", 2)], model=model)
    one = web(past, report, 60)
    assert one is not None
    assert one.service.handshakes == 2


def test_ten_minutes_are_kept_in_steps_of_ten_seconds_and_no_more() -> None:
    batches = [[events("handshake", 2)], [events("handshake", 4), events("retransmit", segments=1, retransmit_kind="fast")]]
    past, report = run(*batches * 350)
    assert len(past.steps) == STEPS
    rates = trends(past, report.series)[WEB]
    assert rates.tolist() == [[3.0, 0.0, 0.5]] * STEPS
    assert sum(interval.seconds for interval in past.intervals) == 60


def test_rare_reports_make_longer_spans_and_never_shorter_ones() -> None:
    model = Model(CONTEXT, start_ns=0)
    past: Spans | None = None
    for n in range(1, 5):
        model.add(reading(events("handshake", 20), time_ns=n * 20 * SECOND))
        past = spans(model.report(), past)
    assert past is not None
    assert lately(past, model.report(), 10)[1] == 20
    assert lately(past, model.report(), 60)[1] == 60
