"""Memory goes back to the system: after a burst, and what only the start has needed.

glibc's allocator takes ever larger blocks from its heap once one was freed, and gives each thread a heap of its own; what is
freed in the middle of a heap stays resident. So both are bounded, and the rest is returned now and then. Other libraries than
glibc have no such functions, and need none. Code and constants of libraries stay mapped, too, page by page as they are used.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

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


def forget_start() -> None:
    """Unmap the pages of files that were read until now; those that are needed again come back one by one.

    Linking, imports and options take 8 MB of code and constants which nothing needs later. The files' pages stay in the page
    cache, so that to come back takes a microsecond and no reading. To be called when all is set up.
    """
    with suppress(OSError):  # a kernel without CONFIG_PROC_PAGE_MONITOR has no such file
        lines = Path("/proc/self/smaps").read_text(encoding="ascii", errors="replace").splitlines()
        for start, end in unwritten(lines):
            _LIBC.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)


def unwritten(smaps: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Yield where files are mapped of which nothing was ever written, and cannot be: a page that was would lose that.

    The dynamic linker writes some of what can only be read later (RELRO); such mappings have pages that are no file's, here or
    in swap. smaps: the lines of /proc/PID/smaps, of which VmFlags is the last one about a mapping.
    """
    mapping, written = [""], 0
    for words in map(str.split, smaps):
        if words[0] in {"Anonymous:", "Swap:"}:
            written += int(words[1])
        elif words[0] == "VmFlags:":
            if not written and mapping[1] in {"r--p", "r-xp"} and "".join(mapping[5:]).startswith("/"):
                start, end = mapping[0].split("-")
                yield int(start, 16), int(end, 16)
        elif not words[0].endswith(":"):
            mapping, written = words, 0
