"""Compiles tcptrace's programs for another kernel, on this one: /usr/bin/python3 -I tests/guests/shapes.py TYPES DIRECTORY SET

TYPES is an image of that kernel with its BTF (vmlinux), DIRECTORY where tracer/kernel/cache.py keeps what comes of it, SET
one of SETS. The compiler takes minutes in an emulated machine and seconds here. What is not among these is compiled there.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

if __name__ == "__main__":  # the distribution's Python, which has bcc, and nothing of an environment
    sys.dont_write_bytecode = True
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from tracer.kernel import cache
from tracer.kernel.btf import Btf
from tracer.kernel.filters import ROLES, Filters
from tracer.kernel.programs import ITERATORS, program_text
from tracer.kernel.settings import Settings

ANY, PORT, PORTS = Filters(), Filters(ports=(1,)), Filters(ports=(1, 2))
OWN = Filters(ports=(1,), own_netns=True)
NETWORK = Filters(ports=(1,), addresses=("10.0.0.0/8",))

CHOSEN = (
    Settings(ANY),
    Settings(ANY, follow=True, segments=True),
    Settings(PORT),
    Settings(PORTS),
    Settings(NETWORK),
    Settings(Filters(ports=(1,), role="client"), follow=True),
)
"""The shapes that the tests of `--chosen` use: only the kinds and numbers of filters count, not their values."""

COMMANDS = (
    *CHOSEN,
    Settings(Filters(ports=(1,), role="client"), states=True),
    Settings(Filters(ports=(1,), role="client"), follow=True, segments=True),
    Settings(PORT, follow=True),
)
"""Those of `--commands`."""

EVERY = (
    *COMMANDS,
    Settings(ANY, states=True),
    Settings(ANY, follow=True),
    Settings(PORT, states=True),
    Settings(PORTS, states=True),
    Settings(PORT, follow=True, segments=True),
    Settings(PORTS, follow=True),
    Settings(PORTS, follow=True, segments=True),
    Settings(Filters(ports=(1,), role="client")),
    Settings(Filters(ports=(1,), role="server")),
    Settings(Filters(ports=(1,), pid=os.getpid())),
    Settings(OWN),
    Settings(Filters(own_netns=True)),
    Settings(OWN, follow=True),
    Settings(OWN, follow=True, segments=True),
    *(Settings(Filters(ports=(1,), own_netns=True, role=role), follow=True) for role in ROLES),
    *(Settings(Filters(own_netns=True, role=role)) for role in ROLES),
    Settings(Filters(ports=(1,), own_netns=True, role="server")),
    Settings(Filters(ports=(1,), role="server"), follow=True),
    Settings(Filters(ports=(1,), role="server", addresses=("10.0.0.0/8",))),
)
"""And those of most other tests."""

ONCE = {f"on_{Path(name).stem}" for name in ITERATORS}
"""Programs that are no tracepoint's."""

SETS = {"chosen": CHOSEN, "commands": COMMANDS, "every": EVERY}


def compile_shape(types: str, settings: Settings) -> None:
    """Compile one shape, unless it is there; fails if there is a program for a tracepoint that the kernel lacks.

    Where direct loads are tried, the text with helper calls is compiled, too: a kernel may refuse them (6.1 does).
    """
    btf = Btf(types)
    program = program_text(btf, settings, 0, 1)
    ways = program.ways_to_read(btf)
    texts = {text for reads in (ways[0], ways[-1]) for text in program.texts(reads)}
    names = {name for text in texts for name in cache.compiled(text).programs}
    if unguarded := names - {f"on_{point.name}" for point in program.tracepoints} - ONCE:
        raise ValueError(f"{', '.join(unguarded)}: this kernel lacks the tracepoint, and #if HAVE_... does not leave it out")


if __name__ == "__main__":
    types, os.environ["CACHE_DIRECTORY"] = sys.argv[1:3]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(partial(compile_shape, types), SETS[sys.argv[3]]))
