"""`make fuzz`: a bounded number of executions of each target, one after the other, and a table.

What is found ends its target: the input is kept beside the corpus, in .cache/fuzz/TARGET, and printed with its traceback. A
test is made of it, and of no input that found nothing; so the corpus is small and can be lost.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.tables import show
from tests.fuzz.targets import TARGETS, Target
from tests.needs import ROOT

PLACE = ROOT / ".cache/fuzz"
EXECUTIONS = 1_000_000
PATIENCE, MEGABYTES = 25, 2048
"""Of time and memory: what takes more is a finding."""

EXECUTIONS_AT_ONCE = 50_000
"""In one process, as atheris keeps a little memory of every comparison; the next goes on from the corpus."""

NOTHING = "nothing found"
COUNTED = re.compile(r"^#(\d+)\s", re.MULTILINE)


def place_of(name: str, target: Target) -> Path:
    """Return the directory of a target's corpus, with its seeds in it."""
    place = PLACE / name / "corpus"
    place.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (place / f"seed-{number}").write_bytes(seed)
    return place


def fuzz(name: str, executions: int, most: int) -> list[str]:
    """Fuzz one target, for so many seconds at most (0: as long as it takes); return its row of the table."""
    made, start, status = 0, time.monotonic(), 0
    while not status and made < executions and (not most or time.monotonic() - start < most):
        left = most and max(int(most - (time.monotonic() - start)), 1)
        status, more = fuzz_once(name, min(executions - made, EXECUTIONS_AT_ONCE), left)
        made += more
    seconds = time.monotonic() - start
    return [name, f"{made:,}", f"{seconds:,.0f}", f"{made / seconds:,.0f}", "found something" if status else NOTHING]


def fuzz_once(name: str, executions: int, most: int) -> tuple[int, int]:
    """Fuzz one target in one process; return its exit status, and how many executions there were."""
    target = TARGETS[name]
    options = [
        f"-runs={executions}",
        f"-max_total_time={most}",
        f"-max_len={target.most}",
        f"-timeout={PATIENCE}",
        f"-rss_limit_mb={MEGABYTES}",
    ]
    options += [f"-artifact_prefix={PLACE / name}/", "-print_final_stats=0", str(place_of(name, target))]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.one", name, *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(done.stdout[-3000:], done.stderr[-3000:], sep="\n", file=sys.stderr)
    return done.returncode, max(map(int, COUNTED.findall(done.stderr)), default=0)


def main() -> int:
    """Fuzz what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--executions", type=int, default=EXECUTIONS, help="of each target (1,000,000)")
    parser.add_argument("--seconds", type=int, default=0, help="for each target at most (0: as long as it takes)")
    asked = parser.parse_args()
    if unknown := set(asked.targets) - set(TARGETS):
        parser.error(f"not known: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    rows = []
    for name in asked.targets or TARGETS:
        rows.append(fuzz(name, asked.executions, asked.seconds))
        print(" ".join(rows[-1]), file=sys.stderr, flush=True)
    show("Fuzzing", ["target", "executions", "seconds", "a second", "result"], rows)
    return any(row[-1] != NOTHING for row in rows)


if __name__ == "__main__":
    sys.exit(main())
