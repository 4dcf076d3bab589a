"""Axes: round numbers, few enough, inside, in a unit that reads well."""

from __future__ import annotations

import pytest

from tracer.outputs.graphic.axes import BYTES, NEAR, SECONDS, Axis, decades, round_values


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1e-9), (0.0, 1.0), (0.0, 7.3), (3.0, 4.0), (0.0, 96_000.0), (0.0, 1e15), (5.0, 5.0)]
)
def test_ticks_are_few_in_order_and_inside(low: float, high: float) -> None:
    for about in (3, 5, 8):
        found = round_values(low, high, about)
        assert len(found) <= about / NEAR + 1
        assert found == sorted(set(found))
        assert all(low - 1e-9 <= value <= high + 1e-9 for value in found)


@pytest.mark.parametrize(
    ("high", "unit"), [(1e-4, "µs"), (0.5, "ms"), (20.0, "s"), (90.0, "s"), (600.0, "min"), (90_000.0, "h")]
)
def test_times_are_told_in_a_unit_of_which_there_are_some(high: float, unit: str) -> None:
    axis = Axis(0, high, 0, 100, "time", SECONDS)
    assert axis.text == f"time ({unit})"
    assert axis.at(high) == 100


def test_minutes_have_ticks_that_divide_an_hour() -> None:
    assert [text for _, text in Axis(0, 7000.0, 0, 100, "time", SECONDS).ticks(6)] == [str(n) for n in range(0, 116, 15)]


def test_a_logarithmic_axis_has_its_decades_with_their_units() -> None:
    axis = Axis(2e-5, 2.0, 0, 500, "handshake", SECONDS, logarithmic=True)
    assert [text for _, text in axis.ticks(5)] == ["100 µs", "1 ms", "10 ms", "100 ms", "1 s"]
    assert axis.at(2e-5) == 0
    assert axis.at(2.0) == 500
    assert decades(4e-5, 3e-4) == pytest.approx([5e-5, 1e-4, 2e-4])
    assert decades(1e-6, 1e-3) == pytest.approx([1e-6, 1e-5, 1e-4, 1e-3])


def test_bytes_are_told_by_their_range() -> None:
    assert Axis(0, 300_001, 0, 1, "sequence number", BYTES).text == "sequence number (kB)"
