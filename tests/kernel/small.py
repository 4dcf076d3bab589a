"""The command `tcptrace` with a small ring or a small connection table.

python -m tests.kernel.small RING_BYTES CONNECTIONS ARGUMENT...; 0 stands for the usual size. Both are settings of the
kernel side without an option of their own.
"""

from __future__ import annotations

import sys
from functools import partial

from tracer.cli import command_line, main
from tracer.commands import run
from tracer.kernel.programs import Settings


def make_small(ring_bytes: int, connections: int) -> None:
    """Have `run` ask for these sizes."""
    usual = Settings.max_connections
    vars(run)["Settings"] = partial(Settings, ring_bytes=ring_bytes, max_connections=connections or usual)


if __name__ == "__main__":
    make_small(*map(int, sys.argv[1:3]))
    sys.argv[1:3] = []
    main(command_line())
