"""What the kernel does not run the first program of state changes for, the second one does, each once (bpf/twice.h).

Packets of a connection are received on another CPU than they are sent from, by an interrupt of that one, which mostly has such
a program under way: each CPU's work is made the other's (receive packet steering).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kernel.asked import Asked, asked
from tests.kernel.net import Namespace
from tests.kernel.until import until
from tests.needs import skip_for_lack_of
from tracer.kernel.settings import Reads

pytestmark = [pytest.mark.kernel, pytest.mark.needs("gcc")]

CONNECTIONS = 20_000
SEVERAL_CPUS = os.cpu_count() != 1
TWICE = 0 if int(os.uname().release.split(".")[0]) < 7 else 5
"""How many changes may be told twice: in Linux 7 a task can be preempted between both programs. It was one of 757, and none."""

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


def runs_of(programs: Asked) -> Runs:
    return Runs(**programs.ask())


def make_connections(side: Namespace, churn: Path, service: int) -> None:
    side.run("unshare", "--mount", "sh", "-c", STEER)
    side.run(str(churn), "2", str(CONNECTIONS), str(service))
    until(lambda: side.open_sockets() == 0, "every connection has ended")


def test_as_many_changes_are_made_up_for_as_were_passed_over(side: Namespace, churn: Path, service: int) -> None:
    with asked("passed_over.py", "count") as programs:
        if programs.first != Reads.CASTS:
            skip_for_lack_of("bpf_rdonly_cast()")
        before = runs_of(programs)
        make_connections(side, churn, service)
        until(lambda: abs(runs_of(programs).unequal() - before.unequal()) <= TWICE, "as many as were passed over")
        runs = runs_of(programs)
    assert not runs.noted
    assert runs.passed_over > before.passed_over or not SEVERAL_CPUS


def test_notes_make_up_for_them_where_the_kernel_does_not_tell_what_is_under_way(
    side: Namespace, churn: Path, service: int
) -> None:
    with asked("passed_over.py", "notes") as programs:
        before = runs_of(programs)
        if before.passed_over < 0:
            skip_for_lack_of("a count of the runs that it passes over")
        make_connections(side, churn, service)
        runs = runs_of(programs)
    assert runs.noted
    assert abs(runs.unequal() - before.unequal()) <= 2 + (runs.passed_over - before.passed_over) // 10
