"""`python -m tests.bench [NAME]...`: measure tcptrace beside its peers, as root."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.bench.cost import cost
from tests.bench.decode import decode
from tests.bench.drift import drift
from tests.bench.fleet import fleet
from tests.bench.follow import follow
from tests.bench.open import open_connections
from tests.bench.parts import parts
from tests.bench.rates import rates
from tests.bench.scrape import scrape
from tests.bench.start import start
from tests.bench.timewait import timewait
from tests.bench.truth import truth

TABLES: Mapping[str, Callable[[argparse.Namespace], None]] = {
    "cost": lambda options: cost(options.rounds, options.connections),
    "rates": lambda options: rates(options.rounds),
    "parts": lambda options: parts(options.rounds),
    "follow": lambda options: follow(options.rounds, options.connections),
    "start": lambda options: start(options.rounds),
    "decode": lambda options: decode(options.rounds),
    "scrape": lambda options: scrape(options.rounds),
    "fleet": lambda _: fleet(),
    "truth": lambda _: truth(),
    "drift": lambda options: drift(options.seconds, options.busy),
    "open": lambda options: open_connections(options.rounds),
    "timewait": lambda options: timewait(options.rounds),
}
"""Every table by its name, in the order in which they are printed."""


TRACEFS = Path("/sys/kernel/tracing")
"""What the peers attach by. Where it is not mounted it is, for this run alone."""


def main() -> int:
    """Run what was asked for, or all of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure tcptrace beside its peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(TABLES)}; all without any")
    parser.add_argument("--rounds", type=int, default=5, help="of which the median is shown (5)")
    parser.add_argument("--connections", type=int, default=40_000, help="in a round of cost and follow (40,000)")
    parser.add_argument("--seconds", type=float, default=60, help="of traffic in drift (60)")
    parser.add_argument("--busy", type=int, default=8, help="processes that keep the machine busy in drift (8)")
    options = parser.parse_args()
    if unknown := set(options.names) - set(TABLES):
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    if os.geteuid():
        print("bench: needs root, for BPF and for network namespaces", file=sys.stderr)
        return 1
    if not any(TRACEFS.iterdir()) and subprocess.run(["unshare", "--mount", "true"], check=False).returncode == 0:
        mount = f'mount -t tracefs none {TRACEFS} && exec "$@"'
        os.execvp(
            "unshare", ["unshare", "--mount", "sh", "-c", mount, "sh", sys.executable, "-m", "tests.bench", *sys.argv[1:]]
        )
    # a shell that starts this in the background has it ignore Ctrl-C, and its children too
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print(f"Linux {platform.release()}, {os.cpu_count()} CPUs, Python {platform.python_version()}", flush=True)
    for name, table in TABLES.items():
        if name in (options.names or TABLES):
            table(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
