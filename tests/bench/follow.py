"""What it costs everybody else to follow one service: connections to another one, with and without `follow` looking on.

`run` with the same filter is the measure, paired with it in each round. Each connection carries a question and an answer, since
`follow` also looks at what send() and recv() return, of every socket of the machine.

    python -m tests.bench.follow PORT [segments]     reads what the programs tell, where there is no such command
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from tests.bench.cost import Load, Sample, churn, compile_churn, sample
from tests.bench.process import bpf_stats
from tests.bench.tables import show
from tests.bench.tools import OURS, Tool
from tests.needs import ROOT
from tracer.commands.session import open_kernel
from tracer.kernel.filters import Filters
from tracer.kernel.launch import Loading
from tracer.kernel.settings import Settings

IDLE = "7918"
"""A service to which nobody connects."""

PAUSE_SECONDS = 0.02


def follow(rounds: int, connections: int) -> None:
    """Print how much slower connections to others are, and what their share of the programs' time is."""
    tools = (Tool("run", (*OURS, "--port", IDLE), ""), *_followers())
    with tempfile.TemporaryDirectory() as directory:
        program = compile_churn(Path(directory))
        bare: list[Load] = []
        samples: dict[Tool, list[Sample]] = {tool: [] for tool in tools}
        for _ in range(rounds):
            bare.append(churn(program, connections, "ask"))
            for tool, taken in samples.items():
                taken.append(sample(tool, program, connections, "ask"))
        with bpf_stats():
            measured = {tool: sample(tool, program, connections, "ask") for tool in tools}
    rows = [["none", f"{median(connections / load.elapsed for load in bare):,.0f}", "-", "-", "-", "-"]]
    rows += [_row(tool, taken, samples[tools[0]], measured[tool], connections) for tool, taken in samples.items()]
    show(
        f"Follow: {connections:,} connections to another service, medians of {len(bare)} interleaved rounds",
        ["tracer", "conn/s", "beside run", "CPU beside run", "runs/connection", "µs/connection"],
        rows,
        "beside run: time by the clock, and CPU time of the load, over those of run in the same round. µs: in BPF programs "
        "(kernel.bpf_stats_enabled), in one more round.",
    )


def _row(tool: Tool, taken: Sequence[Sample], runs: Sequence[Sample], measured: Sample, connections: int) -> list[str]:
    clock = median(s.load.elapsed / r.load.elapsed for s, r in zip(taken, runs, strict=True)) - 1
    cpu = median(s.load.cpu / r.load.cpu for s, r in zip(taken, runs, strict=True)) - 1
    return [
        tool.name,
        f"{median(connections / s.load.elapsed for s in taken):,.0f}",
        "-" if taken is runs else f"{clock:+.1%}",
        "-" if taken is runs else f"{cpu:+.1%}",
        f"{measured.runs.count / connections:.1f}",
        f"{measured.runs.seconds / connections * 1e6:.2f}",
    ]


def _followers() -> tuple[Tool, ...]:
    """Return `follow` without and with --segments; where there is no such command, what reads the same records."""
    command = [sys.executable, "-m", "tracer", "follow"]
    if subprocess.run([*command, "--help"], cwd=ROOT, capture_output=True, check=False).returncode == 0:
        options: tuple[tuple[str, ...], ...] = (("--port", IDLE), ("--port", IDLE, "--segments"))
    else:
        command, options = [sys.executable, "-m", "tests.bench.follow"], ((IDLE,), (IDLE, "segments"))
    names = ("follow", "follow --segments")
    return tuple(Tool(name, (*command, *more), "") for name, more in zip(names, options, strict=True))


def read_forever(port: str, *more: str) -> None:
    """Read what the programs tell of a service, until interrupted."""
    source = open_kernel(Loading(Settings(Filters(ports=(int(port),)), follow=True, segments="segments" in more)), None)
    while source.read():
        time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    read_forever(*sys.argv[1:])
