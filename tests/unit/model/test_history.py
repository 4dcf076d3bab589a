from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.unit.model.builder import CONTEXT, SECOND, events, reading
from tracer.model.audit import AuditLine
from tracer.model.history import INTERVALS, History, history
from tracer.model.report import Report
from tracer.model.totals import Model

WEB = ("client", "443")


def histories(*batches: int, ns: int = 1_000_000) -> list[History]:
    """Return the history after each second with so many handshakes, the n-th of which take n times so many nanoseconds."""
    model = Model(CONTEXT, start_ns=0)
    found: list[History] = []
    for second, many in enumerate(batches, 1):
        model.add(reading(events("handshake", many, handshake_ns=ns * second), time_ns=second * SECOND))
        found.append(history(model.report(), found[-1] if found else None))
    return found


def test_the_first_interval_began_with_the_tracing() -> None:
    assert histories(5)[-1].moments[WEB][:, 0].tolist() == [5]


def test_rates_are_those_of_each_interval() -> None:
    assert histories(5, 0, 7)[-1].moments[WEB][:, 0].tolist() == [5, 0, 7]


def test_the_p99_is_that_of_each_interval_alone() -> None:
    first, second, third = histories(5, 0, 7)[-1].moments[WEB][:, 1].tolist()
    assert (first, third) == pytest.approx((0.001, 0.003), rel=0.045)
    assert math.isnan(second)


def test_a_service_that_comes_later_has_a_shorter_past() -> None:
    model = Model(CONTEXT, start_ns=0)
    model.add(reading(events("handshake", 2)))
    first = history(model.report())
    model.add(reading(events("handshake", 3, port=80), time_ns=3 * SECOND))
    moments = history(model.report(), first).moments
    assert {key: values[:, 0].tolist() for key, values in moments.items()} == {WEB: [2, 0], ("client", "80"): [1.5]}


def test_no_more_than_a_minute_is_kept() -> None:
    kept = histories(*range(INTERVALS + 10))[-1].moments[WEB]
    assert kept[:, 0].tolist() == list(range(10, INTERVALS + 10))


def test_no_rate_is_known_of_no_time() -> None:
    model = Model(CONTEXT)
    model.add(reading(events("handshake", 2)))
    assert math.isnan(history(model.report()).moments[WEB][0, 0])


def test_a_drift_counts_only_as_far_as_it_lasts() -> None:
    nothing = Model(CONTEXT, start_ns=0).report()

    def audited(*drifts: int) -> Report:
        return replace(nothing, audit=tuple(AuditLine(f"counter {n}", 100, 100 + drift) for n, drift in enumerate(drifts)))

    first = history(audited(-2, -2, 0, 3))
    assert first.drifts == {}
    assert history(audited(-1, 1, 5, 4), first).drifts == {"counter 0": -1, "counter 3": 3}


def test_an_earlier_history_is_left_as_it_was() -> None:
    first, second = histories(5, 6)
    assert first.moments[WEB][:, 0].tolist() == [5]
    assert second.report.duration_seconds == 2
