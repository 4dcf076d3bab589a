"""From texts to programs at work in the kernel: compiled or kept, loaded, attached."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from tracer.kernel.bpf import (
    UNTYPED,
    ProgramRefusedError,
    attach,
    create_table,
    iterator,
    load_program,
    number_of,
    run_iterator,
    typed,
)
from tracer.kernel.btf import Btf
from tracer.kernel.bytecode import OWN, Bytecode, put_together
from tracer.kernel.cache import compiled
from tracer.kernel.programs import TYPED, ProgramText, Tracepoint
from tracer.kernel.settings import Reads

EACH_PROGRAM = "bpf_iter_bpf_prog"
"""The kernel's name for what runs.c goes through."""


@dataclass(frozen=True)
class Attached:
    """Descriptors of tables, programs and attachments, each by name; a second program of a tracepoint is again_NAME.

    reads: how the programs read that the kernel took.
    """

    bytecode: Bytecode
    tables: dict[str, int]
    programs: dict[str, int]
    attachments: dict[str, int]
    reads: Reads


def lift_memory_limit() -> None:
    """Let tables have what memory they need: before Linux 5.11 they are charged against RLIMIT_MEMLOCK."""
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def attach_programs(btf: Btf, program: ProgramText, fastest: Reads = Reads.CASTS) -> Attached:
    """Compile, load and attach, reading the kernel's memory in the fastest way that the kernel takes, from that one on.

    Raises TcptraceError when the text does not compile, OSError when the kernel refuses.
    """
    lift_memory_limit()
    ways = program.ways_to_read(btf)
    ways = ways[ways.index(fastest) if fastest in ways else 0 :]
    for reads in ways[:-1]:
        with contextlib.suppress(ProgramRefusedError):
            return attach_as(btf, program, reads)
    return attach_as(btf, program, ways[-1])


def attach_as(btf: Btf, program: ProgramText, reads: Reads) -> Attached:
    """Compile, load and attach, reading the kernel's memory so; raises as attach_programs() does."""
    first, others = (compiled(text) for text in program.texts(reads))
    bytecode = first.joined(others)
    sizes = program.table_sizes(reads)
    tables = {table.name: create_table(table, sizes.get(table.name, table.entries)) for table in bytecode.tables}
    code = _Code(btf, program, reads, bytecode, tables)
    programs: dict[str, int] = {}
    attachments: dict[str, int] = {}
    try:
        for point in program.tracepoints:
            _load(code, point, programs)
        for name, point in _in_order(program):
            attachments[name] = attach(programs[name], None if code.is_typed(point) else point.name)
    except OSError:
        for descriptor in (*tables.values(), *programs.values(), *attachments.values()):
            os.close(descriptor)
        raise
    return Attached(bytecode, tables, programs, attachments, reads)


def run_once(name: str, instructions: bytes, function: int) -> bytes:
    """Run an iterator over what that function of the kernel's goes through, and return what it writes; raises OSError."""
    descriptor = load_program(name, instructions, iterator(function))
    try:
        return run_iterator(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class _Code:
    """Compiled programs, with all that it takes to load them."""

    btf: Btf
    program: ProgramText
    reads: Reads
    bytecode: Bytecode
    tables: dict[str, int]

    def is_typed(self, point: Tracepoint) -> bool:
        """Say whether the arguments of a tracepoint have types in its program."""
        return self.reads is not Reads.CALLS and point.file == TYPED

    def instructions(self, name: str, *own: int) -> bytes:
        """Return what is to be loaded of the program with that name in the C text; own: the constants that are its own."""
        constants = (*own, *self.program.constants[OWN:])
        return put_together(self.bytecode.programs[f"on_{name}"], self.tables, constants, self.program.cast)

    def load(self, name: str, point: Tracepoint, *own: int) -> int:
        """Load the program of a tracepoint under a name, and return its descriptor; raises ProgramRefusedError."""
        kind = typed(self.btf.tracepoint(point.name)) if self.is_typed(point) else UNTYPED
        return load_program(name, self.instructions(point.name, *own), kind)

    def distance(self, first: int) -> int:
        """Return how the second program finds whether the first one is running (bpf/runs.c), 0 where that cannot be told."""
        with contextlib.suppress(OSError):
            code = self.instructions("runs", number_of(first), number_of(self.tables["notes"]))
            return int.from_bytes(run_once("runs", code, self.btf.function(EACH_PROGRAM)), sys.byteorder)
        return 0


def _load(code: _Code, point: Tracepoint, programs: dict[str, int]) -> None:
    """Load the program of a tracepoint, and the second one where there are two: which has no need of notes, if that is so."""
    asks = code.reads is Reads.CASTS  # of the kernel, whether the first one is running
    programs[point.name] = code.load(point.name, point, 0, int(asks))
    if not point.twice:
        return
    distance = code.distance(programs[point.name]) if asks else 0
    if asks and not distance:
        os.close(programs.pop(point.name))
        programs[point.name] = code.load(point.name, point, 0, 0)
    again = _second(point)
    programs[again] = code.load(again, point, 1, distance)


def _second(point: Tracepoint) -> str:
    return f"again_{point.name}"


def _in_order(program: ProgramText) -> Iterator[tuple[str, Tracepoint]]:
    """Yield names of programs with their tracepoints: all first ones, then the second ones."""
    yield from ((point.name, point) for point in program.tracepoints)
    yield from ((_second(point), point) for point in program.tracepoints if point.twice)
