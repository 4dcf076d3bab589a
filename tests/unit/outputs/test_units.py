from __future__ import annotations

import pytest

from tracer.outputs.units import UNKNOWN, bytes_text, count_text, rate_text, time_text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.00 µs"),
        (33.14e-6, "33.1 µs"),
        (999.4e-6, "999 µs"),
        (999.6e-6, "1.00 ms"),
        (0.00999, "9.99 ms"),
        (0.009999, "10.0 ms"),
        (0.9999, "1.00 s"),
        (3.04, "3.04 s"),
        (86_400.0, "86400 s"),
        (None, UNKNOWN),
    ],
)
def test_times_have_three_significant_digits_and_the_unit_that_fits(seconds: float | None, text: str) -> None:
    assert time_text(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (99_999, "99999"), (100_000, "100k"), (999_600, "1.00M"), (1_234_567, "1.23M"), (5e9, "5.00G"), (None, UNKNOWN)],
)
def test_counts_fit_into_five_characters(count: float | None, text: str) -> None:
    assert count_text(count) == text


@pytest.mark.parametrize(("rate", "text"), [(0.0, "0"), (0.5, "0.50"), (28_000.4, "28000"), (23.04, "23.0"), (None, UNKNOWN)])
def test_rates_have_three_significant_digits_below_a_thousand(rate: float | None, text: str) -> None:
    assert rate_text(rate) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (1_234_567, "1.23 MB"), (10**10, "10.0 GB"), (10**13, "10.0 TB")],
)
def test_bytes_have_three_significant_digits_and_the_unit_that_fits(count: int, text: str) -> None:
    assert bytes_text(count) == text
