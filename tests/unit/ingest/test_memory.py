from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from tests.needs import ROOT

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


def grown(*arguments: str) -> int:
    done = subprocess.run([sys.executable, "-c", BURST, *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    return after - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc's allocator")
def test_memory_goes_back_after_a_burst() -> None:
    assert grown("bounded") < 20
