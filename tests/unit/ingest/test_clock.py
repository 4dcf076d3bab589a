"""Which clock the records' times are on, and when the wall clock's place beside it moves."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tracer.ingest.clock import STEP_NS, Anchor, Measure, kernel_ns, measure, parse_offset

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "offset"),
    [
        ("monotonic           0         0\nboottime            0         0\n", 0),
        ("monotonic      100000         7\nboottime            5         0\n", 100_000 * SECOND + 7),
        ("monotonic          -2 500000000\nboottime            0         0\n", -3 * SECOND // 2),
        ("1 23 0\n7 0 0\n", 23 * SECOND),
        ("", 0),
    ],
)
def test_the_offset_of_a_time_namespace_is_in_its_table(text: str, offset: int) -> None:
    assert parse_offset(text) == offset


def test_the_kernels_clock_is_monotonic_time_in_the_machine_s_own_namespace() -> None:
    offset = parse_offset(Path("/proc/self/timens_offsets").read_text(encoding="ascii"))
    before, now, after = time.monotonic_ns(), kernel_ns(), time.monotonic_ns()
    assert before <= now + offset <= after


def test_an_anchor_stays_where_it_is_but_for_a_step() -> None:
    anchor = Anchor()
    first = anchor.ns
    assert anchor.look(Measure(first + STEP_NS, 0)) == first
    assert anchor.look(Measure(first - 40 * STEP_NS, 40 * STEP_NS)) == first  # a measure that was interrupted
    assert anchor.look(Measure(first + 5 * SECOND, 100)) == first + 5 * SECOND
    assert anchor.look(Measure(first, 100)) == first


def test_a_measure_says_how_far_it_may_be_off() -> None:
    one, other = measure(), measure()
    assert abs(one.anchor_ns - other.anchor_ns) <= (one.uncertainty_ns + other.uncertainty_ns) + STEP_NS
