"""What tracing costs at the rates that people have: none, a hundred, a thousand and ten thousand connections a second.

The load comes at its rate whatever the tracer does, so that what differs is the CPU time of its process, the time in its
BPF programs, and how often it wakes up.
"""

from __future__ import annotations

import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.bench.cost import churn, compile_churn
from tests.bench.process import bpf_stats, cpu_seconds, program_runs
from tests.bench.tables import show
from tests.bench.tools import BCC_TCPLIFE, TCPLIFE, TCPTRACE, Tool, line_up, running

RATES = (0, 100, 1_000, 10_000)
"""Connections a second."""

SECONDS = 10
TOOLS = (TCPTRACE, TCPLIFE, BCC_TCPLIFE)


@dataclass(frozen=True)
class Sample:
    """What a tool took in one second at a rate: CPU seconds of its process and of its BPF programs, and wake-ups."""

    process: float
    kernel: float
    wakeups: float


def wakeups(pid: int) -> int:
    """Return how often the threads of a process have gone to sleep so far, and so were woken."""
    found = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        found += int(re.findall(r"^voluntary_ctxt_switches:\s*(\d+)$", status.read_text(encoding="utf-8"), re.MULTILINE)[0])
    return found


def sample(tool: Tool, program: Path, rate: int) -> Sample:
    """Run a tool for some seconds beside a load of that rate."""
    with tempfile.TemporaryDirectory() as directory, running(tool, Path(directory)) as run:
        begin, cpu, runs, woken = time.monotonic(), cpu_seconds(run.pid), program_runs(run.pid), wakeups(run.pid)
        if rate:
            churn(program, rate * SECONDS, "plain", str(rate))
        else:
            time.sleep(SECONDS)
        elapsed = time.monotonic() - begin
        spent, woken = cpu_seconds(run.pid) - cpu, wakeups(run.pid) - woken
        taken = Sample(spent / elapsed, program_runs(run.pid).since(runs).seconds / elapsed, woken / elapsed)
        run.stop()
        return taken


def rates(rounds: int) -> None:
    """Print what each tool takes at each rate."""
    with tempfile.TemporaryDirectory() as name, bpf_stats():
        program = compile_churn(Path(name))
        line = line_up(TOOLS, Path(name))
        taken: dict[tuple[Tool, int], list[Sample]] = {(tool, rate): [] for tool in line.tools for rate in RATES}
        for _ in range(rounds):
            for (tool, rate), samples in taken.items():
                samples.append(sample(tool, program, rate))
    rows = [[tool.name, *(_cell(taken[tool, rate]) for rate in RATES)] for tool in line.tools]
    rows += [[name, why] for name, why in line.left_out.items()]
    show(
        f"Rates: {SECONDS} s at each, medians of {rounds} interleaved rounds",
        ["tracer", *(f"{rate:,}/s" for rate in RATES)],
        rows,
        "Share of one CPU that the tracer's process takes + that its BPF programs take, and wake-ups a second.",
        *line.notes,
    )


def _cell(samples: list[Sample]) -> str:
    process, kernel, woken = (median(getattr(s, name) for s in samples) for name in ("process", "kernel", "wakeups"))
    return f"{process:.1%} + {kernel:.2%}, {woken:,.0f}"
