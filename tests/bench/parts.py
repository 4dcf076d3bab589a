"""What each part of the program of state changes costs: it is taken out, one at a time, and all else is measured.

Nanoseconds a state change by the kernel's own clock (kernel.bpf_stats_enabled), of both programs of the tracepoint together;
rounds are interleaved, and each part is compared with the whole of its own round.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from tests.bench.cost import churn, compile_churn
from tests.bench.partial import EMPTY, NOTHING, PARTS
from tests.bench.process import Runs, bpf_stats, program_runs
from tests.bench.tables import show
from tracer.kernel.starter import SYSTEM_PYTHON

CONNECTIONS = 20_000
PAIR = ("inet_sock_set_s", "again_inet_sock")
"""Both programs, as the kernel cuts their names."""


@contextmanager
def _loaded(part: str) -> Iterator[int]:
    """Have the programs without a part loaded; yields the process that holds them."""
    command = [SYSTEM_PYTHON, "-I", str(Path(__file__).with_name("partial.py")), part]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        if process.stdout is None or process.stdin is None or not process.stdout.readline():
            raise SystemExit(f"parts: without {part} they do not load")
        try:
            yield process.pid
        finally:
            process.stdin.close()


def _measure(program: Path, part: str) -> tuple[float, float]:
    """Return (nanoseconds a state change, seconds of the load)."""
    with _loaded(part) as pid:
        before = program_runs(pid, PAIR)
        load = churn(program, CONNECTIONS)
        runs: Runs = program_runs(pid, PAIR).since(before)
    return 2 * runs.seconds / max(runs.count, 1) * 1e9, load.elapsed


def parts(rounds: int) -> None:
    """Print what a state change costs with everything, and what it costs less without each part."""
    taken: dict[str, list[tuple[float, float]]] = {part: [] for part in PARTS}
    with tempfile.TemporaryDirectory() as name, bpf_stats():
        program = compile_churn(Path(name))
        for _ in range(rounds):
            for part, samples in taken.items():
                samples.append(_measure(program, part))
    whole = taken[NOTHING]
    rows = []
    for part, samples in taken.items():
        less = median(w[0] - s[0] for w, s in zip(whole, samples, strict=True))
        faster = median(w[1] / s[1] for w, s in zip(whole, samples, strict=True)) - 1
        cells = ["-", "-"] if part == NOTHING else [f"{less:,.0f}", f"{faster:+.1%}"]
        rows.append([part, f"{median(ns for ns, _ in samples):,.0f}", *cells])
    show(
        f"Parts: a change of state in both programs, {CONNECTIONS:,} connections, medians of {rounds} interleaved rounds",
        ["taken out", "ns", "less", "conn/s"],
        rows,
        f"less: nanoseconds, against the whole in the same round; what nothing can go below is the last line ({EMPTY}).",
        "conn/s: how much faster the load is.",
    )
