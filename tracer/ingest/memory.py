"""Memory goes back to the system after a burst, which the C library would keep for the next one.

Its allocator takes ever larger blocks from its heap once one was freed, and gives each thread a heap of its own; what is freed
in the middle of a heap stays resident. So both are bounded, and the rest is returned now and then. Other libraries than glibc
have no such functions, and need none.
"""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Of mallopt(3)."""

LARGE_BYTES = 8 << 20
"""From here on a block is a mapping of its own, which is gone when it is freed; so much may be free at the heap's end, too.

Less would have each batch of records faulted in anew, a page after another: a third of what they cost.
"""

RETURN_SECONDS = 10.0

_LIBC = ctypes.CDLL(None)


def bound_heaps() -> None:
    """Keep what is freed from staying; to be called before there are threads."""
    if hasattr(_LIBC, "mallopt"):
        _LIBC.mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
        _LIBC.mallopt(M_TRIM_THRESHOLD, LARGE_BYTES)
        _LIBC.mallopt(M_ARENA_MAX, 1)


def give_back() -> None:
    """Return what is free; a call takes some milliseconds."""
    if hasattr(_LIBC, "malloc_trim"):
        _LIBC.malloc_trim(0)
