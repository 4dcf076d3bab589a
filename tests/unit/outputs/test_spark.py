from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tracer.outputs.spark import BARS, rate_spark, series_spark, time_spark

NAN = float("nan")


def test_a_rate_is_as_high_as_its_share_of_the_highest() -> None:
    assert rate_spark([*[0.0] * 53, 1, 2, 3, 4, 5, 6, 0], 60)[-8:] == "▁▃▄▅▆▇█▁"


def test_only_nothing_has_the_lowest_bar() -> None:
    assert rate_spark([0.0, 0.001, 1000.0], 60)[-3:] == "▁▂█"


def test_before_the_first_value_there_is_a_blank() -> None:
    assert rate_spark([1.0], 60) == " " * 59 + "█"
    assert rate_spark([], 10) == " " * 10


def test_fewer_bars_are_the_mean_of_rates_and_the_longest_of_times() -> None:
    assert rate_spark([0.0] * 54 + [6.0, 0, 0, 0, 0, 0], 10)[-2:] == "▁█"
    assert time_spark([0.001] * 54 + [0.001] * 5 + [1.0], 10) == "▃" * 9 + "█"


def test_a_time_loses_a_bar_for_every_factor_of_four() -> None:
    assert time_spark([1.0, 0.25, 0.0625, 0.015625, 1e-9], 60)[-5:] == "█▇▆▅▁"


def test_a_time_that_is_not_known_is_a_blank() -> None:
    assert time_spark([1.0, NAN, 1.0], 60)[-3:] == "█ █"
    assert time_spark([NAN] * 60, 60) == " " * 60


@pytest.mark.parametrize(
    ("values", "shown"),
    [([], ""), ([5], "▁"), ([5, 5, 5], "▁▁▁"), ([0, 1], "▁█"), (range(8), "▁▂▃▄▅▆▇█"), ([10, 10, 5, 6, 7], "██▁▂▄")],
)
def test_the_lowest_value_is_the_lowest_block(values: list[float], shown: str) -> None:
    assert series_spark(values, 20) == shown


def test_more_values_than_room_are_averaged() -> None:
    assert series_spark([0, 0, 4, 4, 8, 8], 3) == "▁▄█" or series_spark([0, 0, 4, 4, 8, 8], 3) == "▁▅█"


@given(st.lists(st.floats(0, 1e12), max_size=200), st.integers(1, 60))
def test_it_never_takes_more_room_than_there_is(values: list[float], width: int) -> None:
    line = series_spark(values, width)
    assert len(line) == min(len(values), width)
    assert set(line) <= set(BARS)
