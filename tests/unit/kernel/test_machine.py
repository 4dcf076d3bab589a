"""Machines on which nothing can be traced, whatever the privileges: the start and the doctor say so in a sentence."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.needs import ROOT
from tracer.kernel.machine import machine_obstacle

# A whole big-endian machine takes an emulator; all that tcptrace asks of it is what Python says of its byte order.
BIG_ENDIAN = """
import numpy, sys
sys.byteorder = "big"
sys.argv = sys.argv[1:]
from tracer.cli import command_line, main
main(command_line())
"""


def test_this_machine_is_fit() -> None:
    assert machine_obstacle() is None


@pytest.mark.parametrize("words", [("run", "--listen", "127.0.0.1:0"), ("events",), ("follow",), ("audit",), ("doctor",)])
def test_a_big_endian_machine_is_refused_with_a_sentence(words: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", BIG_ENDIAN, "tcptrace", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "this machine is big-endian" in (done.stdout if words == ("doctor",) else done.stderr)
    assert "Traceback" not in done.stderr
