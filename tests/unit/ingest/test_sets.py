"""Sets of numbers, held against numpy's own functions."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray

import tracer
from tracer.ingest.sets import FEW, is_among, is_in, union, unique

NUMBERS = st.lists(st.integers(0, 60), max_size=3 * FEW)
IMPORTING = {"isin", "union1d", "intersect1d", "setdiff1d", "setxor1d", "median", "quantile", "percentile"}
"""Functions that import numpy.ma; unique() does where nothing else is to be returned."""


def imports_more(call: ast.Call) -> bool:
    """Whether it is a call that imports numpy.ma."""
    name = ast.unparse(call.func)
    plain = name == "np.unique" and not any((keyword.arg or "").startswith("return_") for keyword in call.keywords)
    return plain or (name.startswith("np.") and name.removeprefix("np.") in IMPORTING)


@pytest.mark.parametrize("known", [0, 1, FEW - 1, FEW, 50])
def test_what_is_among_few_or_many_is_found(known: int) -> None:
    values, wanted = np.arange(100, dtype=np.uint64), np.arange(known, dtype=np.uint64) * np.uint64(3)
    assert is_among(values, wanted).tolist() == np.isin(values, wanted).tolist()


@given(NUMBERS, NUMBERS, st.sampled_from([np.uint8, np.uint16, np.int64, np.uint64]))
def test_sets_are_numpys(some: list[int], others: list[int], dtype: type) -> None:
    values: NDArray[Any] = np.array(some, dtype)
    known: NDArray[Any] = np.array(others, dtype)
    for asked in (known, others, tuple(others)):
        assert is_in(values, asked).tolist() == np.isin(values, known).tolist()
    assert unique(values).tolist() == np.unique(values).tolist()
    assert union(values, known).tolist() == np.union1d(values, known).tolist()
    assert unique(values).dtype == union(values, known).dtype == dtype


def test_what_does_not_fit_into_a_type_is_not_among_its_values() -> None:
    values = np.array([0, 4464, 65_535], np.uint16)
    assert is_in(values, [-1, 70_000, *range(1, FEW)]).tolist() == [False, False, False]


def test_nothing_imports_numpy_ma_when_a_process_without_privileges_can_import_nothing() -> None:
    for path in Path(tracer.__file__).parent.rglob("*.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        assert [ast.unparse(call) for call in calls if imports_more(call)] == [], path.name
