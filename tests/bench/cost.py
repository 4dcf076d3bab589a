"""What tracing costs: connections made as fast as they can be, without a tracer and with each of several.

Rounds are interleaved (none, A, B, ..., none, A, B, ...) and a tool is compared with the bare run of its own round, so that
what else the machine does meets all of them alike; the figures are medians over the rounds. CPU time is the sounder measure
where there are more processors than work: a tool that runs beside the load does not show in its rate.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.bench.process import Runs, bpf_stats, cpu_seconds, memory_bytes, program_runs, wait_until_quiet
from tests.bench.tables import show
from tests.bench.tools import COMPARED, EMPTY_PAIR, Line, Tool, line_up, running
from tests.kernel import net
from tests.needs import tool as path_of

PORT = 7919
ENDS = 2
"""Of a connection, as both of its sides are on this machine."""


@dataclass(frozen=True)
class Load:
    """What a run of the load took, in seconds."""

    elapsed: float
    cpu: float


@dataclass(frozen=True)
class Sample:
    """One run of the load with a tool. cpu: seconds of the tool; peak: bytes; runs: of its BPF programs."""

    load: Load
    cpu: float = 0.0
    peak: int = 0
    ends: int = 0
    runs: Runs = field(default_factory=Runs)


def compile_churn(directory: Path) -> Path:
    """Return the load program, compiled into a directory."""
    program = directory / "churn"
    subprocess.run([path_of("gcc"), "-O2", "-o", program, Path(__file__).with_name("churn.c")], check=True)
    return program


def churn(program: Path, connections: int, *mode: str) -> Load:
    """Make connections in a namespace of their own; mode `ask`: each carries a question and an answer."""
    with net.namespace() as side:
        elapsed, user, system = map(float, side.run(str(program), str(PORT), str(connections), *mode).split())
    return Load(elapsed, user + system)


def sample(tool: Tool, program: Path, connections: int, *mode: str) -> Sample:
    """Run the load with a tool from its attachment to the end of its work."""
    with tempfile.TemporaryDirectory() as directory, running(tool, Path(directory)) as run:
        cpu, runs = cpu_seconds(run.pid), program_runs(run.pid)
        load = churn(program, connections, *mode)
        wait_until_quiet(run.pid)
        cpu, runs = cpu_seconds(run.pid) - cpu, program_runs(run.pid).since(runs)
        peak = memory_bytes(run.pid, "VmHWM")
        run.stop()
        return Sample(load, cpu, peak, tool.ends(run.output, PORT), runs)


def cost(rounds: int, connections: int) -> None:
    """Print what each tool costs, in user space and in the kernel."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        program = compile_churn(directory)
        line = line_up((EMPTY_PAIR, *COMPARED), directory)
        bare: list[Sample] = []
        samples: dict[Tool, list[Sample]] = {tool: [] for tool in line.tools}
        for _ in range(rounds):
            bare.append(Sample(churn(program, connections)))
            for tool, taken in samples.items():
                taken.append(sample(tool, program, connections))
        _show_cost(line, bare, samples, connections)
        with bpf_stats():
            measured = {tool: sample(tool, program, connections) for tool in line.tools}
        _show_kernel(measured, samples, connections)


def _show_cost(line: Line, bare: Sequence[Sample], samples: dict[Tool, list[Sample]], connections: int) -> None:
    empty = samples.get(EMPTY_PAIR, bare)
    rows = [["none", *_load_cells(bare, bare, empty, connections), "-", "-", f"{ENDS * connections:,} (true)"]]
    rows += [_cost_row(tool, taken, bare, empty, connections) for tool, taken in samples.items()]
    rows += [[name, why] for name, why in line.left_out.items()]
    show(
        f"Cost: {connections:,} connections on loopback, medians of {len(bare)} interleaved rounds",
        ["tracer", "conn/s", "slower", "of the pair", "load µs", "tool µs", "peak MB", "ends reported"],
        rows,
        "slower: than none in the same round, by the clock. of the pair: the rate, against that beside two empty programs.",
        "µs: CPU time per connection, of the load's two processes (BPF programs included) and of the tracer itself.",
        *line.notes,
    )


def _cost_row(
    tool: Tool, taken: Sequence[Sample], bare: Sequence[Sample], empty: Sequence[Sample], connections: int
) -> list[str]:
    own = f"{median(s.cpu for s in taken) / connections * 1e6:.1f}"
    peak = f"{median(s.peak for s in taken) / 1e6:.0f}"
    ends = "-" if tool is EMPTY_PAIR else _range([s.ends for s in taken])
    return [tool.name, *_load_cells(taken, bare, empty, connections), own, peak, ends]


def _load_cells(taken: Sequence[Sample], bare: Sequence[Sample], empty: Sequence[Sample], connections: int) -> list[str]:
    rate = median(connections / s.load.elapsed for s in taken)
    slower = median(s.load.elapsed / b.load.elapsed for s, b in zip(taken, bare, strict=True)) - 1
    share = median(e.load.elapsed / s.load.elapsed for s, e in zip(taken, empty, strict=True))
    load = median(s.load.cpu for s in taken) / connections * 1e6
    return [f"{rate:,.0f}", "-" if taken is bare else f"{slower:+.0%}", f"{share:.3f}", f"{load:.1f}"]


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,}-{high:,}"


def _show_kernel(measured: dict[Tool, Sample], samples: dict[Tool, list[Sample]], connections: int) -> None:
    rows = [
        [
            tool.name,
            f"{s.runs.count / connections:.1f}",
            f"{s.runs.seconds / max(s.runs.count, 1) * 1e9:,.0f}",
            f"{s.runs.seconds / connections * 1e6:.1f}",
            _range([taken.runs.skipped for taken in samples[tool]]),
        ]
        for tool, s in measured.items()
    ]
    show(
        "In the kernel: time in BPF programs (kernel.bpf_stats_enabled), in one more round",
        ["tracer", "runs/connection", "ns/run", "µs/connection", "skipped"],
        rows,
        "skipped: runs that the kernel left out in a round of those above, because the program was running on that CPU when a "
        "softirq came. What came of it: ends reported.",
    )
