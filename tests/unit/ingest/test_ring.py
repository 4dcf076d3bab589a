"""The ring's bytes as the kernel writes them, without a kernel: a small writer here, the reader under test there."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import PAGESIZE
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray

from tracer.ingest.decode import EVENT
from tracer.ingest.ring import BUSY, DISCARDED, HEADER, Ring, find
from tracer.ingest.transposed import together

SMALL = np.dtype([("number", "<u8"), ("word", "<u4"), ("rest", "V4")])
ODD = np.dtype([("number", "<u4"), ("byte", "u1")])


def stride(length: int) -> int:
    return (HEADER + length + 7) // 8 * 8


class Writer:
    """Puts records into a ring of a power of two bytes, like bpf_ringbuf_reserve and _submit: header, payload, padding."""

    def __init__(self, size: int, start: int = 0) -> None:
        self.data = np.full(size, 0xA5, np.uint8)
        self.producer = self.consumer = start

    def put(self, payload: bytes, flags: int = 0) -> bool:
        """Append a record and say whether there was room."""
        whole = struct.pack("<II", len(payload) | flags, 7) + payload
        if self.producer + stride(len(payload)) - self.consumer > len(self.data):
            return False
        for i, byte in enumerate(whole):
            self.data[(self.producer + i) % len(self.data)] = byte
        self.producer += stride(len(payload))
        return True

    def set_flags(self, position: int, length: int, flags: int) -> None:
        for i, byte in enumerate(struct.pack("<I", length | flags)):
            self.data[(position + i) % len(self.data)] = byte


def record(number: int, dtype: np.dtype[np.void] = SMALL) -> bytes:
    row = np.zeros(1, dtype)
    row["number"] = number
    return row.tobytes()


def filled(size: int, start: int, numbers: range) -> Writer:
    writer = Writer(size, start)
    for number in numbers:
        assert writer.put(record(number))
    return writer


def read(writer: Writer, dtype: np.dtype[np.void] = SMALL) -> tuple[list[int], int, int]:
    """Return (numbers, bytes read, foreign)."""
    found = find(writer.data, writer.consumer, writer.producer, dtype)
    assert {run.dtype for run in found.runs} <= {dtype}
    read_bytes, writer.consumer = found.position - writer.consumer, found.position
    return [number for run in found.runs for number in run["number"].tolist()], read_bytes, found.foreign


starts = st.integers(0, 1 << 20).map(lambda n: n * 8)


def test_an_empty_ring_gives_nothing() -> None:
    for start in (0, 8, 256, 1 << 40):
        writer = Writer(256, start)
        assert read(writer) == ([], 0, 0)
        assert writer.consumer == start


def test_records_come_in_their_order() -> None:
    assert read(filled(256, 0, range(5))) == ([0, 1, 2, 3, 4], 5 * 24, 0)


def test_what_was_read_does_not_come_again() -> None:
    writer = filled(256, 0, range(3))
    read(writer)
    assert read(writer) == ([], 0, 0)
    writer.put(record(23))
    assert read(writer) == ([23], 24, 0)


def test_a_full_ring_gives_all_of_it() -> None:
    writer = Writer(240 // 24 * 24 + 16, 0)  # 256 bytes: ten records, and 16 bytes that fit none
    numbers = 0
    while writer.put(record(numbers)):
        numbers += 1
    assert numbers == 10
    assert read(writer)[0] == list(range(10))


def test_a_ring_that_is_full_to_the_last_byte_gives_all_of_it() -> None:
    dtype = np.dtype([("number", "<u8"), ("rest", "V16")])
    for start in range(0, 512, 8):
        writer = Writer(256, start)
        for number in range(8):
            assert writer.put(record(number, dtype))
        assert not writer.put(b"")
        assert read(writer, dtype) == (list(range(8)), 256, 0)


@pytest.mark.parametrize("start", range(0, 256, 8))
def test_a_record_at_every_place_reads_the_same_also_across_the_end(start: int) -> None:
    assert read(filled(256, start, range(9))) == (list(range(9)), 9 * 24, 0)


@pytest.mark.parametrize("start", range(0, 64, 8))
def test_one_record_in_the_smallest_ring_that_holds_it(start: int) -> None:
    assert read(filled(32, start, range(23, 24))) == ([23], 24, 0)


@pytest.mark.parametrize("position", range(5))
@pytest.mark.parametrize("start", [0, 8, 192, 232, 248])
def test_reading_stops_before_a_record_that_is_still_being_written(start: int, position: int) -> None:
    writer = filled(256, start, range(5))
    writer.set_flags(start + position * 24, SMALL.itemsize, BUSY)
    assert read(writer) == (list(range(position)), position * 24, 0)
    assert read(writer) == ([], 0, 0)
    writer.set_flags(start + position * 24, SMALL.itemsize, 0)
    assert read(writer) == (list(range(position, 5)), (5 - position) * 24, 0)


def test_a_record_that_is_busy_and_will_be_discarded_stops_reading_too() -> None:
    writer = filled(256, 0, range(3))
    writer.set_flags(24, SMALL.itemsize, BUSY | DISCARDED)
    assert read(writer) == ([0], 24, 0)


@pytest.mark.parametrize("position", range(5))
def test_a_discarded_record_is_passed_over_and_not_foreign(position: int) -> None:
    writer = filled(256, 216, range(5))
    writer.set_flags(216 + position * 24, SMALL.itemsize, DISCARDED)
    assert read(writer) == ([n for n in range(5) if n != position], 5 * 24, 0)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 15, 17, 24, 40])
@pytest.mark.parametrize("start", [0, 208, 248])
def test_a_record_of_another_length_is_passed_over_and_counted(length: int, start: int) -> None:
    writer = Writer(256, start)
    writer.put(record(1))
    writer.put(b"x" * length)
    writer.put(record(2))
    assert read(writer) == ([1, 2], 48 + stride(length), 1)


def test_a_discarded_record_of_another_length_is_not_foreign() -> None:
    writer = Writer(256)
    writer.put(b"x" * 40, DISCARDED)
    writer.put(record(1))
    assert read(writer) == ([1], 48 + 24, 0)


def test_a_ring_of_nothing_but_foreign_records_gives_none() -> None:
    writer = Writer(256)
    for _ in range(7):
        writer.put(b"x" * 8)
    assert read(writer) == ([], 7 * 16, 7)


def test_a_size_that_is_no_multiple_of_8_is_padded_like_the_kernel_does() -> None:
    writer = Writer(64, 40)
    for number in (23, 29, 31, 37):
        assert writer.put(record(number, ODD))
    assert read(writer, ODD) == ([23, 29, 31, 37], 64, 0)


@given(st.sampled_from([32, 64, 128, 256, 1024]), starts, st.lists(st.integers(0, 50), max_size=40))
def test_whatever_is_written_is_read_once_and_in_order(size: int, start: int, batches: list[int]) -> None:
    writer = Writer(size, start)
    written: list[int] = []
    seen: list[int] = []
    for batch in batches:
        for _ in range(batch):
            if not writer.put(record(len(written))):
                break
            written.append(len(written))
        seen += read(writer)[0]
        assert writer.consumer == writer.producer
    assert seen == written


KINDS = ("ours", "discarded", "foreign", "busy")


@given(st.sampled_from([256, 512, 2048]), starts, st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 40)), max_size=60))
def test_any_mixture_gives_the_finished_ones_before_the_first_busy_one(
    size: int, start: int, wanted: list[tuple[str, int]]
) -> None:
    writer = Writer(size, start)
    expected: list[int] = []
    foreign, end, busy = 0, start, False
    for number, (kind, length) in enumerate(wanted):
        flags = {"discarded": DISCARDED, "busy": BUSY}.get(kind, 0)
        payload = b"y" * (length + SMALL.itemsize + 1) if kind == "foreign" else record(number)
        if not writer.put(payload, flags):
            break
        busy = busy or kind == "busy"
        if not busy:
            expected += [number] if kind == "ours" else []
            foreign += kind == "foreign"
            end = writer.producer
    assert read(writer) == (expected, end - start, foreign)


@pytest.mark.parametrize("start", [0, 192, 216, 248])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_what_was_read_does_not_change_with_the_ring(start: int, n: int) -> None:
    writer = filled(256, start, range(n))
    records = together(find(writer.data, writer.consumer, writer.producer, SMALL).runs)
    assert not np.shares_memory(records, writer.data)
    writer.data[:] = 0xFF
    assert records["number"].tolist() == list(range(n))


def test_reading_writes_nothing_into_the_ring() -> None:
    writer = filled(256, 216, range(5))
    before = writer.data.copy()
    writer.data.flags.writeable = False
    read(writer)
    assert (writer.data == before).all()


def test_records_of_the_real_layout_come_whole_from_around_the_end() -> None:
    random = np.random.default_rng(23)
    wanted = np.frombuffer(random.bytes(23 * EVENT.itemsize), EVENT)
    writer = Writer(1 << 14, (1 << 14) - 5 * stride(EVENT.itemsize) - 8)
    for row in wanted:
        assert writer.put(row.tobytes())
    found = find(writer.data, writer.consumer, writer.producer, EVENT)
    assert together(found.runs).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("records", range(10))
@pytest.mark.parametrize("start", [0, 216, 232])
def test_the_position_behind_some_records_is_where_the_next_ones_are_found(start: int, records: int) -> None:
    writer = filled(256, start, range(9))
    writer.set_flags(start + 4 * 24, SMALL.itemsize, DISCARDED)
    found = find(writer.data, writer.consumer, writer.producer, SMALL)
    writer.consumer = found.position_behind(records)
    assert read(writer)[0] == [number for number in range(9) if number != 4][records:]


SIZE = 4 * PAGESIZE


@contextmanager
def mapped(start: int, numbers: range) -> Iterator[tuple[Ring, NDArray[np.uint64], NDArray[np.uint64]]]:
    """Yield a Ring over a file that has a ring's pages, with the two positions as the kernel sees them."""
    writer = filled(SIZE, start, numbers)
    with tempfile.TemporaryFile() as file:
        file.write(struct.pack("<Q", start).ljust(PAGESIZE, b"\0"))
        file.write(struct.pack("<Q", writer.producer).ljust(PAGESIZE, b"\0"))
        file.write(writer.data.tobytes() * 2)
        file.flush()
        ring = Ring(file.fileno(), SIZE, SMALL)
        consumer = np.memmap(file, np.uint64, "r+", 0, (1,))
        producer = np.memmap(file, np.uint64, "r+", PAGESIZE, (1,))
        yield ring, consumer, producer
        del consumer, producer


def numbers_in(ring: Ring) -> list[int]:
    return [number for run in ring.look() for number in run["number"].tolist()]


def test_a_mapped_ring_gives_the_records_and_their_room_back() -> None:
    with mapped(SIZE - 40, range(23)) as (ring, consumer, producer):
        assert numbers_in(ring) == list(range(23))
        assert (ring.filled(), int(consumer[0])) == (23 * 24 / SIZE, SIZE - 40)
        ring.let_go(20)
        assert numbers_in(ring) == [20, 21, 22]
        ring.let_go(3)
        assert int(consumer[0]) == int(producer[0])
        assert numbers_in(ring) == []
        assert ring.foreign == 0
        ring.close()


def mapped_places() -> set[str]:
    return {line.split()[0] for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines() if "deleted" in line}


@pytest.mark.parametrize("start", [0, 8, 24, PAGESIZE - 8, PAGESIZE, SIZE - 40, SIZE - 8, 7 * SIZE + 3 * PAGESIZE + 16])
@pytest.mark.parametrize("count", [1, PAGESIZE // 24, SIZE // 48, SIZE // 24])
def test_records_are_read_from_any_place_of_a_mapped_ring_however_many_there_are(start: int, count: int) -> None:
    with mapped(start, range(count)) as (ring, consumer, producer):
        before = mapped_places()
        assert numbers_in(ring) == list(range(count))
        ring.let_go(count)
        assert int(consumer[0]) == int(producer[0])
        assert numbers_in(ring) == []
        ring.let_go(0)
        assert mapped_places() == before
        ring.close()


def mapped_bytes() -> int:
    spans = [[int(end, 16) for end in place.split("-")] for place in mapped_places()]
    return sum(end - start for start, end in spans)


def test_all_of_a_ring_is_mapped_when_much_comes_again() -> None:
    much = PAGESIZE // 24
    with mapped(0, range(3 * much)) as (ring, _, producer):
        before, taken = mapped_bytes(), []
        for end in (much, 2 * much, 3 * much, 3 * much):
            producer[0] = end * 24
            found = numbers_in(ring)
            taken.append(mapped_bytes() - before)
            ring.let_go(len(found))
        assert taken == [PAGESIZE, SIZE, SIZE, 0]
        ring.close()


def test_a_closed_ring_leaves_what_was_read_from_it() -> None:
    with mapped(0, range(5)) as (ring, _, _):
        records = together(ring.look())
        ring.let_go(len(records))
        ring.close()
        assert records["number"].tolist() == list(range(5))


def test_a_descriptor_that_is_no_ring_is_an_error_and_no_crash() -> None:
    fd = os.open(os.devnull, os.O_RDWR)
    try:
        with pytest.raises((OSError, ValueError)):
            Ring(fd, SIZE, SMALL)
    finally:
        os.close(fd)


def test_a_record_that_claims_more_than_there_is_moves_nothing_beyond_the_producer() -> None:
    writer = filled(256, 0, range(1))
    writer.set_flags(0, 1 << 20, 0)
    assert read(writer) == ([], 24, 1)
