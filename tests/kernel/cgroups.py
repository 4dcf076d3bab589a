"""Real cgroups for tests: directories below the one place where cgroup2 is mounted, gone afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kernel.until import until


def mount() -> Path:
    """Return where cgroup2 is mounted; skips the test where it is not."""
    lines = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    found = next((Path(line[1]) for line in lines if line[2] == "cgroup2"), None)
    if found is None:
        pytest.skip("no cgroup2 file system is mounted")
    return found


@contextmanager
def cgroups() -> Iterator[Path]:
    """Yield a new cgroup, in which others can be made; they are gone when their processes have ended."""
    own = mount() / f"tcptrace-test-{os.getpid()}-{os.urandom(3).hex()}"
    own.mkdir()
    try:
        yield own
    finally:
        for directory, _, _ in os.walk(os.fsencode(own), topdown=False):
            until(lambda path=directory: not _is_populated(path), "the cgroup is empty")  # type: ignore[misc]
            Path(os.fsdecode(directory)).rmdir()


def _is_populated(directory: bytes) -> bool:
    return "populated 1" in Path(os.fsdecode(directory), "cgroup.events").read_text(encoding="ascii")
