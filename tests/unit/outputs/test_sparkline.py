"""A series as blocks."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tracer.outputs.sparkline import BLOCKS, sparkline


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([], ""),
        ([5], "▁"),
        ([5, 5, 5], "▁▁▁"),
        ([0, 1], "▁█"),
        (range(8), "▁▂▃▄▅▆▇█"),
        ([10, 10, 5, 6, 7], "██▁▂▄"),
    ],
)
def test_the_lowest_value_is_the_lowest_block(values: list[float], shown: str) -> None:
    assert sparkline(values, 20) == shown


def test_more_values_than_room_are_averaged() -> None:
    assert sparkline([0, 0, 4, 4, 8, 8], 3) == "▁▄█" or sparkline([0, 0, 4, 4, 8, 8], 3) == "▁▅█"


@given(st.lists(st.floats(0, 1e12), max_size=200), st.integers(1, 60))
def test_it_never_takes_more_room_than_there_is(values: list[float], width: int) -> None:
    line = sparkline(values, width)
    assert len(line) == min(len(values), width)
    assert set(line) <= set(BLOCKS)
