"""The distributions that are tried, and what is tried in each: a new one is a new row.

Standard library only, as everything in this directory: it runs on the machine's own Python, before any set-up.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

ALL_STEPS = ("loader", "run", "unit", "kernel", "e2e")


@dataclass(frozen=True)
class Suite:
    """One release. archive: whose (tests/distributions/archives.py). steps: which of STEPS are tried there, in that order."""

    name: str
    title: str
    archive: str = "debian"
    components: str = "main"
    steps: tuple[str, ...] = ALL_STEPS


SUITES = (
    Suite("bookworm", "Debian 12"),
    Suite("trixie", "Debian 13"),
    Suite("noble", "Ubuntu 24.04", "ubuntu", "main,universe"),
    # it changes every day, and is what the next releases will be: only whether its bcc loads the programs
    Suite("sid", "Debian sid", steps=("loader",)),
)

KERNEL_TESTS = (
    *("start", "counting", "failures", "closes", "handshakes", "filters", "follow_positions", "follow_unprivileged"),
    *("audit", "cleanup", "obstacles", "privileges"),
)
"""The kernel is the machine's own, whatever the root: those tests are chosen that meet other programs of the distribution
(bcc, tcpdump, tshark, nft, bpftool, the C library, Python), and the start."""


def make_test(name: str, *arguments: str) -> str:
    """Return the shell text that runs some of the tests, with pytest's arguments."""
    # the family that may hold what tests measured (record_property)
    options = [f"--junitxml=/results/{name}.xml", "-o", "junit_family=xunit1"]
    return f"make test ARGS={shlex.quote(shlex.join([*options, *arguments]))}"


STEPS = {
    # bcc without anything that it only recommends, as set-up installs it
    "loader": "apt-get -qq update && apt-get -qq install --no-install-recommends python3-bpfcc >/dev/null"
    " && /usr/bin/python3 -I tests/distributions/load.py",
    "run": 'make run ARGS="--duration 3 --no-view --json --listen 127.0.0.1:0" >/results/run.json'
    " && .venv/bin/python -m json.tool /results/run.json >/dev/null && time make setup",
    "kernel": make_test("kernel", *(f"tests/kernel/test_{name}.py" for name in KERNEL_TESTS)),
    "unit": make_test("unit", "tests/unit"),
    "e2e": make_test("e2e", "tests/e2e"),
}
"""Each step's shell text, run in the fresh root with the checkout as its directory."""
