"""The command `tcptrace` with a small ring, for whose size there is no option.

python -m tests.kernel.small RING_BYTES ARGUMENT...; 0 stands for the usual size.
"""

from __future__ import annotations

import sys
from functools import partial

from tracer.cli import command_line, main
from tracer.commands import run
from tracer.kernel.settings import Settings


def make_small(ring_bytes: int) -> None:
    """Have `run` ask for a ring of this size."""
    vars(run)["Settings"] = partial(Settings, ring_bytes=ring_bytes)


if __name__ == "__main__":
    make_small(int(sys.argv[1]))
    del sys.argv[1]
    main(command_line())
