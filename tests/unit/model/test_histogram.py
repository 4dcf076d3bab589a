from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tracer.ingest.buckets import BOUNDS_NS
from tracer.ingest.counted import Times
from tracer.model.histogram import (
    BUCKETS,
    CLASSIC_BOUNDS,
    ENOUGH,
    MANY,
    PARTS,
    Durations,
    Histogram,
    bucket_index,
    classic,
    quantile,
)

SECOND = 10**9
ANY_TIME = st.integers(0, 2**64 - 1)
TIME_INSIDE = st.integers(int(2**-20 * SECOND) + 1, 2**23 * SECOND)


def filled(*ns: int) -> Histogram:
    durations = Durations()
    durations.add(np.zeros(len(ns), np.intp), np.array(ns, np.uint64))
    return durations.snapshot(slice(1))


def test_there_are_eight_buckets_per_power_of_two_between_an_underflow_and_an_overflow() -> None:
    assert BUCKETS == 1 + 43 * 8 + 1
    assert BOUNDS_NS[20 * 8] == SECOND
    assert BOUNDS_NS[-1] == 2**23 * SECOND


@given(st.integers(-160, 23 * 8))
def test_bounds_are_the_eighth_roots_of_powers_of_two_rounded_down(step: int) -> None:
    bound = int(BOUNDS_NS[step + 160])
    exact = Fraction(2) ** step
    assert Fraction(bound, SECOND) ** 8 <= exact < Fraction(bound + 1, SECOND) ** 8


@pytest.mark.parametrize("i", [0, 1, 7, 8, 100, 160, 207, 208, 343, 344])
def test_a_time_equal_to_a_bound_belongs_below_it_and_the_next_nanosecond_above(i: int) -> None:
    bound = BOUNDS_NS[i]
    assert bucket_index(np.array([bound - 1, bound, bound + 1], np.uint64)).tolist() == [i, i, i + 1]


@given(st.lists(ANY_TIME | st.sampled_from(BOUNDS_NS.tolist()).flatmap(lambda b: st.integers(b - 1, b + 1)), min_size=1))
def test_the_table_look_up_agrees_with_a_binary_search(ns: list[int]) -> None:
    times = np.array(ns, np.uint64)
    assert bucket_index(times).tolist() == np.searchsorted(BOUNDS_NS, times).tolist()


@given(st.lists(TIME_INSIDE, min_size=1, max_size=200), st.sampled_from([0.0, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999]))
def test_a_quantile_is_within_five_percent_of_the_observation_it_stands_for(ns: list[int], q: float) -> None:
    exact = np.quantile(np.array(ns, np.float64), q, method="inverted_cdf") / SECOND
    assert quantile(filled(*ns), q)[0] == pytest.approx(exact, rel=0.05)


@given(st.lists(ANY_TIME, min_size=1, max_size=50))
def test_the_last_quantile_is_the_exact_maximum_and_none_exceeds_it(ns: list[int]) -> None:
    histogram = filled(*ns)
    assert histogram.maxima[0] == max(ns)
    assert quantile(histogram, 1)[0] == max(ns) / 1e9
    assert quantile(histogram, 0.5)[0] <= max(ns) / 1e9


def test_the_quantile_of_nothing_is_not_a_number() -> None:
    assert np.isnan(quantile(filled(), 0.5)[0])


@given(st.lists(ANY_TIME, max_size=50))
def test_classic_buckets_count_what_is_at_most_their_bound(ns: list[int]) -> None:
    expected = [sum(time <= int(BOUNDS_NS[8 * i]) for time in ns) for i in range(len(CLASSIC_BOUNDS))]
    assert classic(filled(*ns))[0].tolist() == [*expected, len(ns)]


@given(st.lists(TIME_INSIDE, max_size=50))
def test_the_sum_is_kept_in_seconds(ns: list[int]) -> None:
    assert filled(*ns).sums[0] == pytest.approx(sum(ns) / 1e9)


def test_rows_merge_into_the_histogram_of_all_their_observations() -> None:
    durations = Durations()
    durations.reserve(3)
    durations.add(np.array([0, 1, 2]), np.array([1000, 2000, 3000], np.uint64))
    merged = durations.snapshot(slice(3)).merged(np.array([0, 2]))
    alone = filled(1000, 3000)
    assert (merged.counts == alone.counts).all()
    assert merged.maxima[0] == 3000
    assert merged.sums[0] == pytest.approx(4e-6)


@given(st.lists(TIME_INSIDE, max_size=20), st.lists(TIME_INSIDE, min_size=1, max_size=20))
def test_what_came_since_an_earlier_state_has_its_own_quantiles(before: list[int], after: list[int]) -> None:
    later = filled(*before, *after).since(filled(*before))
    assert later.totals[0] == len(after)
    assert quantile(later, 1)[0] == pytest.approx(max(after) / 1e9, rel=0.05)


def test_merging_no_rows_gives_an_empty_histogram() -> None:
    assert filled(5).merged(np.empty(0, np.intp)).totals.tolist() == [0]


def test_a_snapshot_does_not_change_and_cannot_be_changed() -> None:
    durations = Durations()
    before = durations.snapshot(slice(1))
    durations.add(np.array([0]), np.array([1000], np.uint64))
    assert before.totals[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        before.counts[0, 0] = 1


def test_many_times_of_a_row_are_added_as_if_one_by_one() -> None:
    times = np.array([0, 1000, 2**20 + 1, 5 * 10**9], np.uint64)
    one, many = Durations(), Durations()
    for durations in (one, many):
        durations.reserve(3)
    one.add(np.array([2, 1, 2]), np.append(times, times[:3]), np.array([4, 2, 1], np.uint64))
    many.add(np.array([2, 2, 2, 2, 1, 1, 2]), np.append(times, times[:3]))
    for name in ("counts", "sums", "maxima"):
        assert np.allclose(getattr(one.snapshot(slice(3)), name), getattr(many.snapshot(slice(3)), name))


@pytest.mark.parametrize("zeros", [True, False])
@pytest.mark.parametrize("calls", [1, PARTS - 1, PARTS, 2 * PARTS + 3])
@pytest.mark.parametrize("times", [3, MANY - 1, MANY, ENOUGH // 3])
def test_times_that_wait_are_counted_once_somebody_looks(times: int, calls: int, zeros: bool) -> None:
    rng = np.random.default_rng(23)
    ns = (10 ** rng.uniform(0, 17, (calls, 2 * times)) * rng.integers(0, 2, (calls, 2 * times))).astype(np.uint64)
    rows, numbers = np.array([2, 1, 2]), np.array([times, times // 2, times - times // 2], np.uint64)
    durations = Durations()
    durations.reserve(3)
    counts, which = np.zeros((3, BUCKETS), np.uint64), rows.repeat(numbers.view(np.intp))
    for each in ns:
        durations.add(rows, each, numbers, zeros=zeros)
        np.add.at(counts, (which, bucket_index(each)), (each > 0) | zeros)
    found = durations.snapshot(slice(3))
    assert found.counts.tolist() == counts.tolist()
    assert found.sums == pytest.approx([ns[:, which == row].sum(dtype=np.float64) / SECOND for row in range(3)])
    assert found.maxima.tolist() == [0, *(ns[:, which == row].max() for row in (1, 2))]


def test_times_that_wait_go_where_their_row_does() -> None:
    durations = Durations()
    durations.reserve(2)
    durations.add(np.array([1]), np.array([SECOND], np.uint64))
    durations.fold(np.array([1]), np.array([0]))
    assert durations.snapshot(slice(2)).totals.tolist() == [1, 0]


@given(st.lists(st.integers(0, 14 * SECOND), min_size=1, max_size=50), st.integers(0, 50), st.sampled_from([0, 1, 14 * SECOND]))
def test_times_counted_by_bucket_are_as_if_each_was_added(ns: list[int], known: int, older: int) -> None:
    """But for the maximum, where an older one is in a higher bucket: it is the least that it can be, or what was added."""
    few = np.array(ns, np.uint64)
    counts = np.zeros((2, 192), np.uint64)
    np.add.at(counts[0], bucket_index(few), np.uint64(1))
    durations = Durations()
    durations.reserve(4)
    durations.add(np.full(min(known, len(ns)), 3), few[:known])
    most = max(*ns, older)
    durations.add_counts(
        np.array([3, 3]), Times(counts, np.array([few.sum(), 0], np.uint64), np.array([most, most], np.uint64))
    )
    found, added = durations.snapshot(slice(3, 4)), filled(*ns, *ns[:known])
    assert found.counts.tolist() == added.counts.tolist()
    assert found.sums == pytest.approx(added.sums)
    highest, its = bucket_index(np.array([max(ns), most], np.uint64)).tolist()
    least = int(BOUNDS_NS[highest - 1]) + 1 if highest else 0
    assert found.maxima[0] == max(most if highest == its else least, *ns[:known], 0)
    assert not durations.snapshot(slice(3)).maxima.any()
