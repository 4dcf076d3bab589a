"""`python -m tests.distributions [SUITE…] [PYTEST'S ARGUMENTS]`: try tcptrace in fresh roots of other distributions, as root.

Prints a matrix of steps by distribution; each step's output is kept in .cache/distributions/SUITE/results. With arguments
for pytest, the tests that they choose are all that runs: `trixie noble -k start`.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from xml.etree import ElementTree

from tests.distributions.roots import CACHE, CHECKOUT, Root
from tests.distributions.suites import STEPS, SUITES, Suite, make_test

STEP_SECONDS = 3000
"""The longest that a step may take."""


@dataclass(frozen=True)
class Outcome:
    """What a step said in a word or two, and whether it passed."""

    text: str
    passed: bool


def main() -> int:
    """Try each distribution that was named, or all of them; return 1 when a step failed."""
    words = sys.argv[1:]
    names = list(takewhile(lambda word: not word.startswith("-"), words))
    if unknown := set(names) - {suite.name for suite in SUITES}:
        print(f"distributions: there is no {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    if os.geteuid():
        print("distributions: needs root, for mounts and for BPF", file=sys.stderr)
        return 1
    signal.signal(signal.SIGINT, signal.default_int_handler)
    chosen = words[len(names) :]
    rows = {suite: try_suite(suite, chosen) for suite in SUITES if suite.name in (names or [one.name for one in SUITES])}
    print_matrix(rows)
    print(f"output of each step: {CACHE.relative_to(CHECKOUT)}/*/results")
    return int(not all(outcome.passed for row in rows.values() for outcome in row.values()))


def try_suite(suite: Suite, chosen: list[str]) -> dict[str, Outcome]:
    """Run the steps of a distribution, one after the other in the same fresh root."""
    print(f"{suite.title}: preparing a fresh root", file=sys.stderr, flush=True)
    root = Root(suite)
    try:
        root.prepare()
    except subprocess.CalledProcessError as error:
        print(f"{suite.title}: {error.cmd[0]} failed ({error.returncode})", file=sys.stderr, flush=True)
        return {"loader": Outcome("no root", False)}
    steps = {"chosen": make_test("chosen", *chosen)} if chosen else {name: STEPS[name] for name in suite.steps}
    return {name: try_step(root, suite, name, text) for name, text in steps.items()}


def try_step(root: Root, suite: Suite, name: str, text: str) -> Outcome:
    """Run one step; say on standard error how it went."""
    start = time.monotonic()
    status = root.run(name, text, STEP_SECONDS)
    seconds = time.monotonic() - start
    outcome = Outcome(_words(root.results, name, status), status == 0)
    print(f"{suite.title}: {name}: {outcome.text} ({seconds:.0f} s)", file=sys.stderr, flush=True)
    return outcome


def _words(results: Path, name: str, status: int) -> str:
    """Return pytest's counts where there are any, else the loader's versions, else how the step ended."""
    if status == 124:
        return "took too long"
    counts = _counts(results / f"{name}.xml")
    if counts or status:
        return counts or f"failed ({status})"
    versions = re.search(r"^bcc (\S+), Python (\d+\.\d+)", (results / f"{name}.log").read_text(encoding="utf-8"), re.MULTILINE)
    return f"bcc {versions[1]}, Python {versions[2]}" if versions else "passed"


def _counts(file: Path) -> str:
    if not file.exists():
        return ""
    suite = next(ElementTree.parse(file).iter("testsuite"))
    tests, failures, errors, skipped = (int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped"))
    failed = failures + errors
    parts = ((tests - failed - skipped, "passed"), (failed, "failed"), (skipped, "skipped"))
    return ", ".join(f"{count} {word}" for count, word in parts if count or word == "passed")


def print_matrix(rows: dict[Suite, dict[str, Outcome]]) -> None:
    """Print one line a distribution, one column a step."""
    steps = list(dict.fromkeys(step for row in rows.values() for step in row))
    lines = [["", *steps]]
    lines += [[suite.title, *(row[step].text if step in row else "-" for step in steps)] for suite, row in rows.items()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip())


if __name__ == "__main__":
    sys.exit(main())
