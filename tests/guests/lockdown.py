"""What Secure Boot makes of a kernel: under integrity all works, under confidentiality one sentence says why nothing does.

In guests alone, and last (`make test-kernels ARGS=--commands`): a kernel stays locked down until its machine ends. No other
run of pytest finds this file by itself.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernel.until import PATIENCE, complaints
from tests.needs import ROOT, skip_for_lack_of

MODE = Path("/sys/kernel/security/lockdown")
INSIDE = Path("/mnt/out/inside.sh")
RUN = ("run", "--no-view", "--listen", "127.0.0.1:0", "--duration", "1")


@pytest.fixture(autouse=True)
def fixture_guest() -> None:
    """Only where the kernel is a guest's and can be locked down."""
    assert INSIDE.exists(), "this would lock down the kernel of a machine that is no guest of ours"
    if not MODE.exists():
        skip_for_lack_of("lockdown")


def tcptrace(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tracer", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE)


def test_integrity_is_no_obstacle() -> None:
    MODE.write_text("integrity", encoding="ascii")
    done = tcptrace(*RUN)
    assert done.returncode == 0, done.stderr
    assert "attached" in complaints(done.stderr)


def test_confidentiality_is_told_in_one_sentence_with_the_remedy() -> None:
    MODE.write_text("confidentiality", encoding="ascii")
    for words in (RUN, ("follow",)):
        done = tcptrace(*words)
        assert done.returncode == 1
        assert done.stderr.splitlines() == [
            "tcptrace: the kernel is locked down (confidentiality): BPF may not read its memory",
            "hint: boot with lockdown=integrity or none",
        ]
    examined = tcptrace("doctor")
    assert examined.returncode == 1
    assert "the kernel is locked down (confidentiality)" in examined.stdout
