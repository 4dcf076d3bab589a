"""Namespaces of which dumps have told."""

from __future__ import annotations

import numpy as np

from tracer.model.dumped import MOST, Dumped


def test_a_namespace_is_known_once_a_dump_has_told_of_it() -> None:
    dumped = Dumped()
    assert not dumped.has(np.array([7, 8], np.uint32)).any()
    dumped.add([7])
    assert dumped.has(np.array([7, 8], np.uint32)).tolist() == [True, False]


def test_of_too_many_the_latest_are_remembered() -> None:
    dumped = Dumped()
    for number in range(2 * MOST):
        dumped.add([1 << 20, number])
    assert len(dumped) == MOST
    known = dumped.has(np.array([1 << 20, 0, MOST, MOST + 1, 2 * MOST - 1]))
    assert known.tolist() == [True, False, False, True, True]
