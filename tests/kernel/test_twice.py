"""What the kernel does not run the first program of state changes for, the second one does, each once (bpf/twice.h).

Packets of a connection are received on another CPU than they are sent from, by an interrupt of that one, which mostly has such
a program under way: each CPU's work is made the other's (receive packet steering).
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kernel.net import Namespace
from tests.kernel.until import until
from tests.needs import skip_for_lack_of
from tracer.kernel.settings import Reads
from tracer.kernel.starter import SYSTEM_PYTHON

pytestmark = [pytest.mark.kernel, pytest.mark.needs("gcc")]

CONNECTIONS = 20_000
SEVERAL_CPUS = os.cpu_count() != 1
STEER = f"mount -t sysfs none /sys && echo {3 if SEVERAL_CPUS else 1} > /sys/class/net/lo/queues/rx-0/rps_cpus"


@dataclass(frozen=True)
class Runs:
    """How many of the first program's the kernel has passed over, how many were made up for, and whether notes were taken.

    passed_over: negative where the kernel does not count them.
    """

    passed_over: int
    rescued: int
    noted: bool

    def unequal(self) -> int:
        """Return how many more were passed over."""
        return self.passed_over - self.rescued


class Programs:
    """Programs that run. reads: how they read the kernel's memory."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.reads = self._line()

    def now(self) -> Runs:
        """Look."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return Runs(**json.loads(self._line()))

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextmanager
def running(how: str) -> Iterator[Programs]:
    """Yield programs that are gone afterwards."""
    command = [SYSTEM_PYTHON, "-I", str(Path(__file__).with_name("passed_over.py")), how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Programs(process)
        finally:
            process.kill()


def make_connections(side: Namespace, churn: Path, service: int) -> None:
    side.run("unshare", "--mount", "sh", "-c", STEER)
    side.run(str(churn), "2", str(CONNECTIONS), str(service))
    until(lambda: side.open_sockets() == 0, "every connection has ended")


def test_as_many_changes_are_made_up_for_as_were_passed_over(side: Namespace, churn: Path, service: int) -> None:
    with running("count") as programs:
        if programs.reads != Reads.CASTS:
            skip_for_lack_of("bpf_rdonly_cast()")
        before = programs.now()
        make_connections(side, churn, service)
        until(lambda: programs.now().unequal() == before.unequal(), "as many as were passed over")
        runs = programs.now()
    assert not runs.noted
    assert runs.passed_over > before.passed_over or not SEVERAL_CPUS


def test_notes_make_up_for_them_where_the_kernel_does_not_tell_what_is_under_way(
    side: Namespace, churn: Path, service: int
) -> None:
    with running("notes") as programs:
        before = programs.now()
        if before.passed_over < 0:
            skip_for_lack_of("a count of the runs that it passes over")
        make_connections(side, churn, service)
        runs = programs.now()
    assert runs.noted
    assert abs(runs.unequal() - before.unequal()) <= 2 + (runs.passed_over - before.passed_over) // 10
