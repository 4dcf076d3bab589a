"""How long the reader of the ring waits for more, by how fast it fills."""

from __future__ import annotations

import pytest

from tracer.ingest.gather import ENOUGH, FIRST_SECONDS, LONGEST_SECONDS, next_pause


def looks(a_second: float, filled: float = 1 / 8) -> tuple[int, float]:
    """Return how often a ring that fills so fast is looked at, and how full it is when it is read."""
    pause, count = FIRST_SECONDS, 0
    while pause:
        before, filled = filled, filled + a_second * pause
        pause = next_pause(before, filled, pause)
        count += 1
    return count, filled


@pytest.mark.parametrize("a_second", [1, 2, 5, 10, 20])
def test_a_ring_that_fills_is_read_when_it_has_enough_and_room_for_more(a_second: float) -> None:
    count, filled = looks(a_second)
    assert ENOUGH <= filled < 2 / 3
    assert count < 12


def test_a_ring_that_fills_slowly_is_read_at_once() -> None:
    count, _ = looks(0.1)
    assert count == 1


def test_a_ring_that_somebody_else_has_read_meanwhile_is_not_waited_for() -> None:
    assert next_pause(0.3, 0.0, FIRST_SECONDS) == 0
    assert next_pause(0.0, 0.0, FIRST_SECONDS) == 0


def test_no_pause_is_long() -> None:
    assert next_pause(0, 0.01, 0.001) <= LONGEST_SECONDS
