"""Connections of the last records are found by their keys, as their latest record has them."""

from __future__ import annotations

import numpy as np
import pytest

from tracer.model.recent import Recent


@pytest.mark.parametrize("asked", [0, 3, 50])
def test_keys_are_found_with_what_their_latest_record_has(asked: int) -> None:
    random = np.random.default_rng(asked)
    recent = Recent("row")
    latest: dict[int, tuple[int, int]] = {}
    for batch in range(3):
        keys, times = random.integers(0, 60, 40).astype(np.uint64), np.arange(40, dtype=np.uint64) + np.uint64(100 * batch)
        recent.add(keys, times, row=keys.astype(np.intp) + 1000 * batch)
        latest |= {key: (time, key + 1000 * batch) for key, time in zip(keys.tolist(), times.tolist(), strict=True)}
    wanted = random.permutation(60)[:asked].astype(np.uint64)
    hits, found = recent.find(wanted)
    assert hits.tolist() == [key in latest for key in wanted.tolist()]
    assert found["row"].tolist() == [latest[key][1] for key in wanted.tolist() if key in latest]
    assert recent.since(wanted, 110).tolist() == [latest.get(key, (0, 0))[0] >= 110 for key in wanted.tolist()]


def test_nothing_is_known_before_the_first_record() -> None:
    wanted = np.arange(5, dtype=np.uint64)
    hits, found = Recent("row").find(wanted)
    assert not hits.any()
    assert not len(found["row"])
    assert not Recent("row").since(wanted, 0).any()
