"""The BPF ring buffer as an array: a pure reader of its bytes, and the mapped one of a running kernel.

A record is an 8-byte header (u32 length, with bit 31 while it is being written and bit 30 when it was discarded; u32
offset) and its payload, rounded up to 8 bytes. All records of ours have one size, which makes any run of them a strided
array. Each mapped page counts as our memory: but in bursts only those are mapped that have something to read, while it is read.
The kernel offers the data twice in a row, so that these go on across the end. bcc's ring_buffer_poll, a Python callback per
record, was the alternative: fifty times the time.
"""

from __future__ import annotations

import mmap
from _thread import allocate_lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

HEADER = 8
BUSY = 1 << 31
DISCARDED = 1 << 30
LENGTH = DISCARDED - 1


class Found(NamedTuple):
    """Records where they lie in the ring: in runs, each of which begins at a position (in bytes since the start).

    position: up to which all was looked at; foreign: records not understood.
    """

    runs: list[NDArray[np.void]]
    starts: list[int]
    position: int
    foreign: int

    def position_behind(self, records: int) -> int:
        """Return the position behind the first so many records."""
        for run, start in zip(self.runs, self.starts, strict=True):
            if records < len(run):
                return start + records * _stride(run.dtype.itemsize)
            records -= len(run)
        return self.position


def find(data: NDArray[np.uint8], consumer: int, producer: int, dtype: np.dtype[np.void]) -> Found:
    """Return all complete records between two positions, up to the first one still being written.

    data: the data area, uint8, shape (size,), size a power of two.
    Discarded records are passed over; so are those of another length than dtype's, which are counted as foreign.
    """
    runs: list[NDArray[np.void]] = []
    starts: list[int] = []
    foreign = 0
    while consumer < producer:
        header = int(_headers(data, consumer, 1, HEADER)[0])
        if header & BUSY:
            break
        order_loads()  # before a record across the end is copied
        if header == dtype.itemsize:
            runs.append(_run(data, consumer, producer, dtype))
            starts.append(consumer)
            consumer += len(runs[-1]) * _stride(dtype.itemsize)
        else:
            foreign += not header & DISCARDED
            consumer += _stride(header & LENGTH)
    order_loads()
    # a record that is not ours may claim any length
    return Found(runs, starts, min(consumer, producer), foreign)


NOTHING = Found([], [], 0, 0)


def order_loads() -> None:
    """Let no load or store that follows overtake a load before it; needed on processors that reorder them, as arm64.

    To give back a lock is a release, which nothing before it passes; to take one is an acquire, which nothing after it passes;
    and an acquire does not pass a release before it. So the order of the two matters. (The C library's semaphore until Python
    3.12, Python's own atomics since 3.13. Python has no fence, and numpy's loads are plain ones.)
    """
    lock = allocate_lock()
    lock.acquire()
    lock.release()
    lock.acquire()


def _stride(length: int) -> int:
    return (length + HEADER + 7) & ~7


def _headers(data: NDArray[np.uint8], position: int, count: int, stride: int) -> NDArray[np.uint32]:
    return np.ndarray((count,), "<u4", data.data, position & (len(data) - 1), (stride,))


def _run(data: NDArray[np.uint8], consumer: int, producer: int, dtype: np.dtype[np.void]) -> NDArray[np.void]:
    """Return the unbroken run of finished records of one size from the consumer position, one at least, shape (n,).

    It ends before the end of the data; where not even one fits before it, that one is put together from both ends.
    """
    stride = _stride(dtype.itemsize)
    start = consumer & (len(data) - 1)
    count = min(producer - consumer, len(data) - start) // stride
    if not count:
        halves = np.concatenate((data[start:], data[: stride - (len(data) - start)]))
        return halves[HEADER : HEADER + dtype.itemsize].view(dtype)
    broken = _headers(data, consumer, count, stride) != dtype.itemsize
    first = int(broken.argmax())
    return np.ndarray((first if broken[first] else count,), dtype, data.data, start + HEADER, (stride,))


class Ring:
    """A ring of the kernel, mapped from its descriptor.

    The position is stored with one aligned 64-bit store, after the records were copied: anything else would show the kernel
    a torn position, and it would drop records. The kernel marks a record as busy, then moves the producer's position on, and
    takes the mark away when the record is whole, each with a release. So three times nothing may be reordered: position before
    headers, headers before records, records before our own position (order_loads).
    """

    def __init__(self, fd: int, size: int, dtype: np.dtype[np.void]) -> None:
        page = mmap.PAGESIZE
        self._fd, self._size, self._dtype = fd, size, dtype
        self._own = mmap.mmap(fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=0)
        self._theirs = mmap.mmap(fd, page, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        self._consumer = np.frombuffer(self._own, np.uint64, 1)
        self._producer = np.frombuffer(self._theirs, np.uint64, 1)
        self.foreign = 0
        self._most = 0
        self._found, self._base = NOTHING, 0
        self._whole: NDArray[np.uint8] | None = None
        self._is_much = False

    def look(self) -> list[NDArray[np.void]]:
        """Return the records that are there, where they lie, in one or more runs of shape (n,): until they are let go of."""
        consumer, producer = int(self._consumer[0]), int(self._producer[0])
        self._most = max(self._most, producer - consumer)
        order_loads()
        data, self._base = self._mapped(consumer, producer)
        self._found = find(data, consumer - self._base, producer - self._base, self._dtype)
        self.foreign += self._found.foreign
        return self._found.runs or [np.empty(0, self._dtype)]

    def let_go(self, records: int) -> None:
        """Give the room of the first so many of these records back to the kernel; they were copied by now."""
        position, self._found = self._base + self._found.position_behind(records), NOTHING
        order_loads()
        self._consumer[0] = position

    def _mapped(self, consumer: int, producer: int) -> tuple[NDArray[np.uint8], int]:
        """Return what lies between two positions, as find() wants it, and the position at which it begins.

        To map a page takes as long as to read the records in it, so that all stays mapped while much comes again and again.
        """
        page, there = mmap.PAGESIZE, producer - consumer
        if there > self._size // 8:
            if self._whole is None and (self._is_much or there > self._size // 2):
                self._whole = self._map(0, self._size)
            self._is_much = True
        elif there < self._size // 64:
            self._whole, self._is_much = None, False
        if self._whole is not None:
            return self._whole, consumer & -self._size
        base = consumer & -page
        return self._map(base & self._size - 1, max(page, 1 << (producer - base).bit_length())), base

    def _map(self, place: int, length: int) -> NDArray[np.uint8]:
        """Return a part of the data, which is mapped for as long as there are arrays over it."""
        part = mmap.mmap(self._fd, length, mmap.MAP_SHARED, mmap.PROT_READ, offset=2 * mmap.PAGESIZE + place)
        return np.frombuffer(part, np.uint8)

    def filled(self) -> float:
        """Return the share of the ring that has records which were not let go of."""
        return (int(self._producer[0]) - int(self._consumer[0])) / self._size

    def was_full(self) -> bool:
        """Say whether a look since this was asked before found no room for one more record; between looks it only fills."""
        full = self._most + _stride(self._dtype.itemsize) > self._size
        self._most = 0
        return full

    def close(self) -> None:
        """Unmap; the arrays over the mappings go first."""
        del self._consumer, self._producer, self._found, self._whole
        self._own.close()
        self._theirs.close()
