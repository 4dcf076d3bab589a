"""A known number of sockets in TIME_WAIT, made by a program in C (timewait.c)."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from tests.kernel.net import Namespace
from tests.needs import tool

SPREAD = 50
"""Destinations, 127.0.0.1 and following."""


def leave_timewait(side: Namespace, port: int, count: int) -> None:
    """Leave that many sockets in TIME_WAIT in a namespace, none of which is taken over by a later one."""
    side.set("net.ipv4.tcp_max_tw_buckets", str(2 * count))
    side.set("net.ipv4.tcp_tw_reuse", "0")
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory, "timewait")
        subprocess.run([tool("gcc"), "-O2", "-o", program, Path(__file__).with_suffix(".c")], check=True)
        side.run(str(program), str(port), str(count))


def timewait_objects(side: Namespace) -> int:
    """Return what the kernel counts as tw in /proc/net/sockstat: TIME_WAIT, and FIN_WAIT2 of orphans."""
    (line,) = [line for line in side.run("cat", "/proc/net/sockstat").splitlines() if line.startswith("TCP:")]
    words = line.split()
    return int(words[words.index("tw") + 1])
