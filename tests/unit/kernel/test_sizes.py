"""The sizes of tables and ring."""

from __future__ import annotations

import os
import platform

import pytest
from hypothesis import given, strategies as st

from tracer.ingest.decode import BEGINNING, EVENT
from tracer.ingest.places import ROWS, TALLIES
from tracer.ingest.ring import HEADER
from tracer.kernel.sizes import (
    ENTRY_BYTES,
    connection_entries,
    kept_in,
    ring_bytes,
    slot_entries,
    table_entries,
    tally_rows,
    wake_mask,
)


@given(st.integers(1, 8192))
def test_the_ring_is_a_power_of_two_between_4_and_64_mib_and_2_mib_a_cpu_in_between(cpus: int) -> None:
    size = ring_bytes(0, cpus)
    assert size & (size - 1) == 0
    assert 8 << 20 <= size <= 64 << 20
    assert size >= min(cpus << 22, 64 << 20)


@given(st.integers(1, 1024), st.sampled_from([1 << 12, 1 << 16, 1 << 23, 1 << 26]), st.booleans())
def test_all_cpus_together_fill_a_quarter_of_the_ring_at_most_before_one_wakes_its_reader(
    cpus: int, size: int, whole: bool
) -> None:
    every = wake_mask(size, cpus, whole=whole) + 1
    record = HEADER + (EVENT if whole else BEGINNING).itemsize
    assert every & (every - 1) == 0
    assert every == 1 or every * cpus * record <= size // 4


@given(st.integers(1, 8192))
def test_busy_places_take_8_mib_at_most_and_are_a_power_of_two(cpus: int) -> None:
    rows = tally_rows(cpus)
    assert rows & (rows - 1) == 0
    assert 2 <= rows <= 256
    assert rows == 2 or rows * cpus * (ROWS.itemsize + TALLIES.itemsize) <= 8 << 20


def test_many_connections_are_in_slots_on_x86_64_and_few_in_a_hash_table() -> None:
    here = platform.machine() == "x86_64" and connection_entries(None) >= 65_536
    assert [slot_entries(asked) for asked in (65_536, 65_535, 1)] == [65_536 if here else 1, 1, 1]
    assert slot_entries(None) == (connection_entries(None) if here else 1)


@pytest.mark.parametrize("asked", [None, 65_536, 65_535, 8])
def test_there_is_room_for_connections_in_one_place_alone(asked: int | None) -> None:
    entries, room = table_entries(0, asked, 2), connection_entries(asked)
    kept = {casts: [kept_in(entries, casts=casts)[name] for name in ("slots", "displaced", "conns")] for casts in (True, False)}
    assert kept[False] == [1, 1, room]
    assert kept[True] == ([room, room, 1] if slot_entries(asked) > 1 else [1, 1, room])


def test_a_ring_of_a_given_size_has_that_size() -> None:
    assert ring_bytes(4096, 64) == 4096


def test_the_connection_table_takes_a_64th_of_the_memory_at_most_unless_its_size_is_given() -> None:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert connection_entries(None) == min(262_144, memory // 64 // ENTRY_BYTES)
    assert connection_entries(23) == 23
    assert connection_entries(1 << 24) == 1 << 24
