"""`python -m tests.bench [cost|follow|start|decode|truth|timewait]...`: measure tcptrace beside its peers, as root."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys

from tests.bench.cost import cost
from tests.bench.decode import decode
from tests.bench.follow import follow
from tests.bench.start import start
from tests.bench.timewait import timewait
from tests.bench.truth import truth

NAMES = ("cost", "follow", "start", "decode", "truth", "timewait")


def main() -> int:
    """Run what was asked for, or all of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure tcptrace beside its peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)}; all without any")
    parser.add_argument("--rounds", type=int, default=5, help="of which the median is shown (5)")
    parser.add_argument("--connections", type=int, default=40_000, help="in a round of cost and follow (40,000)")
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    if os.geteuid():
        print("bench: needs root, for BPF and for network namespaces", file=sys.stderr)
        return 1
    # a shell that starts this in the background has it ignore Ctrl-C, and its children too
    signal.signal(signal.SIGINT, signal.default_int_handler)
    measure(options.names or NAMES, options.rounds, options.connections)
    return 0


def measure(names: list[str] | tuple[str, ...], rounds: int, connections: int) -> None:
    """Print the tables of these names, in their own order."""
    print(f"Linux {platform.release()}, {os.cpu_count()} CPUs, Python {platform.python_version()}", flush=True)
    if "cost" in names:
        cost(rounds, connections)
    if "follow" in names:
        follow(rounds, connections)
    if "start" in names:
        start(rounds)
    if "decode" in names:
        decode(rounds)
    if "truth" in names:
        truth()
    if "timewait" in names:
        timewait(rounds)


if __name__ == "__main__":
    sys.exit(main())
