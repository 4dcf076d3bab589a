"""What `make fuzz` begins with runs through its targets; and damaged types, which fuzzing found to end the process."""

from __future__ import annotations

import struct

import pytest

from tests.fuzz.records import btf, btf_seeds
from tests.fuzz.targets import TARGETS
from tests.unit.kernel.test_btf import OBSTACLE


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_runs_through_its_target(name: str) -> None:
    target = TARGETS[name]
    seeds = target.seeds()
    assert seeds
    assert max(map(len, seeds)) <= target.most
    for seed in seeds:
        target.run(seed)


WORDS = {
    "a name behind all names": (52, 2000),
    "a member of a type that there is not": (24 + 16 + 20 + 16, 999),
    "a struct within itself": (24 + 16 + 20 + 16, 3),
    "a definition of itself": (24 + 16 + 20 + 24 + 24 + 36 + 28 + 12 + 8, 8),
}
"""Places of a word in the seed, and what stands there instead."""


def struct_of_itself(times: int) -> bytes:
    """Return types of which one is a struct that has itself so many times, without a name."""
    names = b"\0sock\0"
    body = struct.pack("<III", 1, 4 << 24 | times, 0) + struct.pack("<III", 0, 1, 0) * times
    return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(body), len(body), len(names)) + body + names


@pytest.mark.skipif(OBSTACLE is not None, reason=OBSTACLE or "")
def test_a_struct_that_has_itself_twice_is_looked_into_once() -> None:
    btf(struct_of_itself(2))


@pytest.mark.skipif(OBSTACLE is not None, reason=OBSTACLE or "")
@pytest.mark.parametrize("word", WORDS.values(), ids=WORDS)
def test_types_that_make_no_sense_are_refused_or_not_there(word: tuple[int, int]) -> None:
    (image,) = btf_seeds()
    at, value = word
    btf(image[:at] + struct.pack("<I", value) + image[at + 4 :])
