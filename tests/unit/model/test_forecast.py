"""How long the ephemeral ports will last: a straight line through the latest snapshots, or nothing."""

from __future__ import annotations

import pytest

from tests.unit.model.dumps import OWN, SECOND, dump, sockets
from tracer.ingest.ports import EphemeralPorts
from tracer.model.sockets import WINDOW, Summarizer

FEW = EphemeralPorts(40000, 40010)


def forecasts(*uses: int, seconds: float = 1) -> list[float | None]:
    summarize = Summarizer()
    times = [int((i + 1) * seconds * SECOND) for i in range(len(uses))]
    snapshots = [
        summarize(dump(sockets("established", n=n), ports={OWN: FEW}, end_ns=at)) for n, at in zip(uses, times, strict=True)
    ]
    return [snapshot.ports[0].forecast_seconds for snapshot in snapshots]


def test_a_growing_use_is_forecast_in_a_straight_line() -> None:
    assert forecasts(1, 2, 3) == [None, 9.0, 8.0]
    assert forecasts(1, 6, seconds=2) == [None, 2.0]


def test_a_use_that_does_not_grow_has_no_forecast() -> None:
    assert forecasts(3, 3, 2) == [None, None, None]


def test_what_is_used_up_is_so_now() -> None:
    assert forecasts(5, 11, 11) == [None, 0.0, 0.0]


def test_growth_that_is_over_is_forgotten_after_some_snapshots() -> None:
    assert forecasts(1, *[5] * (WINDOW + 1))[-1] is None


def test_a_small_use_has_no_forecast_however_it_grows() -> None:
    few, many = (EphemeralPorts(40_000, 40_000 + n - 1) for n in (100, 40))
    for ports, expected in ((few, None), (many, 35.0)):
        summarize = Summarizer()
        dumps = [dump(sockets("established", "10.0.0.1:40000", n=n), ports={OWN: ports}, end_ns=n * SECOND) for n in (3, 5)]
        assert [summarize(each).ports[0].forecast_seconds for each in dumps][-1] == expected


def test_a_use_that_goes_up_and_down_or_has_stopped_has_no_forecast() -> None:
    assert forecasts(2, 4, 3, 5)[-1] is None
    assert forecasts(2, 5, 5, 5, 5)[-1] is None
    assert forecasts(2, 3, 3, 4)[-1] == pytest.approx(10.5)


def test_a_destination_that_is_new_has_no_forecast_yet() -> None:
    summarize = Summarizer()
    summarize(dump())
    assert summarize(dump(sockets("established", n=3), end_ns=2 * SECOND)).ports[0].forecast_seconds is None
