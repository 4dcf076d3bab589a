"""Native histograms against their definition: bucket i of schema 3 is (2**((i - 1) / 8), 2**(i / 8)], in exact arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tracer.ingest.buckets import BOUNDS_NS
from tracer.model.histogram import Durations
from tracer.model.native import OVERFLOW_INDEX, SCHEMA, ZERO_THRESHOLD, Native, native

SECOND = 10**9
NEAR_A_BOUND = st.sampled_from(BOUNDS_NS.tolist()).flatmap(lambda bound: st.integers(bound - 1, bound + 1))
ANY_TIME = st.integers(0, 2**64 - 1) | st.integers(0, SECOND) | NEAR_A_BOUND


def of(*ns: int) -> Native:
    durations = Durations()
    durations.add(np.zeros(len(ns), np.intp), np.array(ns, np.uint64))
    return native(durations.snapshot(slice(1)).counts[0])


def counts(found: Native) -> dict[int, int]:
    """Return the observations of each bucket by its index, as the specification says how to read spans and deltas."""
    return dict(zip(indices(found), np.cumsum(found.deltas).tolist(), strict=True))


def indices(found: Native) -> Iterator[int]:
    after = 0
    for offset, length in found.spans:
        yield from range(after + offset, after + offset + length)
        after += offset + length


def index(ns: int) -> int:
    """Return the bucket of schema 3 for a time: the least i for which (ns / 10**9)**8 <= 2**i."""
    eighth = Fraction(ns, SECOND) ** 8
    return next(i for i in range(-160, 1000) if eighth <= Fraction(2) ** i)


def test_the_schema_has_eight_buckets_in_an_octave_and_the_threshold_is_a_bound_of_it() -> None:
    assert (SCHEMA, ZERO_THRESHOLD) == (3, 2.0**-20)


@given(st.lists(ANY_TIME, max_size=30))
def test_every_observation_is_in_the_bucket_of_the_definition(ns: list[int]) -> None:
    expected: dict[int, int] = {}
    for time in (time for time in ns if Fraction(time, SECOND) > Fraction(1, 2**20)):
        at = index(time) if time <= 2**23 * SECOND else OVERFLOW_INDEX
        expected[at] = expected.get(at, 0) + 1
    found = of(*ns)
    assert counts(found) == expected
    assert found.zero + sum(expected.values()) == len(ns)


@pytest.mark.parametrize("octave", [-19, -1, 0, 1, 6, 23])
def test_a_power_of_two_belongs_to_the_bucket_that_it_ends(octave: int) -> None:
    bound = int(Fraction(2) ** octave * SECOND)
    assert counts(of(bound)) == {8 * octave: 1}
    assert counts(of(bound + 1)) == {8 * octave + 1 if octave < 23 else OVERFLOW_INDEX: 1}


def test_neighbours_share_a_span_and_a_gap_begins_another() -> None:
    found = of(SECOND, SECOND, 2**6 * SECOND, int(1.05 * SECOND), 500)
    assert found == Native(zero=1, spans=((0, 2), (46, 1)), deltas=(2, -1, 0))


def test_of_nothing_there_are_no_buckets() -> None:
    assert of() == Native(zero=0, spans=(), deltas=())
