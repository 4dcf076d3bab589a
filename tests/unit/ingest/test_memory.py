from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tests.needs import ROOT
from tracer.ingest.memory import unwritten

BURST = """
import sys
from tracer.ingest.memory import bound_heaps, give_back

def resident():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]) >> 10

if "bounded" in sys.argv:
    bound_heaps()
before = resident()
blocks = [bytes(size << 10) for _ in range(400) for size in (2, 100)]
kept, blocks = [bytes(600) for _ in range(20_000)], blocks[::200]
most = resident()
if "bounded" in sys.argv:
    give_back()
print(before, resident())
"""
"""MiB before and after a burst of which a few blocks are kept, so that no heap shrinks by itself."""

FORGOTTEN = """
import ctypes, mmap, sys
from tracer.ingest.memory import forget_start

def of_file(name):
    lines = iter(open("/proc/self/smaps"))
    next(line for line in lines if line.rstrip().endswith(name))
    return int(next(line for line in lines if line.startswith("Rss:")).split()[1])

def mapped(name, protection):
    with open(name, "rb") as file:
        return mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, protection)

name, libc = sys.argv[1], ctypes.CDLL(None)
if "written" in sys.argv:
    found = mapped(name, mmap.PROT_READ | mmap.PROT_WRITE)
    found[:7] = b"written"
    start = ctypes.addressof(ctypes.c_char.from_buffer(found))
    assert libc.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(len(found)), mmap.PROT_READ) == 0
else:
    found = mapped(name, mmap.PROT_READ)
text = bytes(found)
before = of_file(name)
forget_start()
after = of_file(name)
print(before, after, found[:] == text)
"""
"""kB of a mapped file that are resident before and after, and whether it still reads the same."""


def grown(*arguments: str) -> int:
    done = subprocess.run([sys.executable, "-c", BURST, *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    return after - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc's allocator")
def test_memory_goes_back_after_a_burst() -> None:
    assert grown("bounded") < 20


def forgotten(path: Path, *arguments: str) -> tuple[int, int, bool]:
    path.write_bytes(bytes(1 << 20))
    command = [sys.executable, "-c", FORGOTTEN, str(path), *arguments]
    before, after, same = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    return int(before), int(after), same == "True"


def test_what_the_start_has_read_is_unmapped_and_can_be_read_again(tmp_path: Path) -> None:
    before, after, same = forgotten(tmp_path / "read")
    assert before > after == 0
    assert same


def test_what_was_written_before_it_could_only_be_read_is_kept(tmp_path: Path) -> None:
    _, after, same = forgotten(tmp_path / "relocated", "written")
    assert after > 0
    assert same


MAPPING = """
7f5a40000000-7f5a40001000 {} 00000000 fe:00 131 {}
Rss:                   4 kB
Anonymous:             {} kB
Swap:                  {} kB
VmFlags: rd mr mw me
"""


@pytest.mark.parametrize(
    ("protection", "path", "anonymous", "swap", "is_found"),
    [
        ("r--p", "/usr/lib/a file.so", 0, 0, True),
        ("r-xp", "/usr/lib/a.so", 0, 0, True),
        ("r--p", "/usr/lib/a.so", 4, 0, False),
        ("r--p", "/usr/lib/a.so", 0, 4, False),
        ("rw-p", "/usr/lib/a.so", 0, 0, False),
        ("r--s", "/usr/lib/a.so", 0, 0, False),
        ("r--p", "[vvar]", 0, 0, False),
        ("r--p", "", 0, 0, False),
    ],
)
def test_only_what_was_never_written_and_cannot_be_is_forgotten(
    protection: str, path: str, anonymous: int, swap: int, is_found: bool
) -> None:
    smaps = MAPPING.format(protection, path, anonymous, swap).strip().splitlines() * 2
    assert list(unwritten(smaps)) == [(0x7F5A40000000, 0x7F5A40001000)] * 2 * is_found
