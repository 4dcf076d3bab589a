"""From texts to programs at work in the kernel: compiled or kept, loaded, attached."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass

from tracer.kernel.bpf import UNTYPED, ProgramRefusedError, attach, create_table, load_program, typed
from tracer.kernel.btf import Btf
from tracer.kernel.bytecode import Bytecode, put_together
from tracer.kernel.cache import compiled
from tracer.kernel.programs import TYPED, ProgramText, Tracepoint
from tracer.kernel.settings import Reads


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
    programs, attachments = {}, {}
    try:
        for point, second, name in _in_order(program):
            kind = typed(btf.tracepoint(point.name)) if _is_typed(point, reads) else UNTYPED
            code = put_together(bytecode.programs[f"on_{point.name}"], tables, (second, *program.constants[1:]), program.cast)
            programs[name] = load_program(name, code, kind)
        for point, _, name in _in_order(program):
            attachments[name] = attach(programs[name], None if _is_typed(point, reads) else point.name)
    except OSError:
        for descriptor in (*tables.values(), *programs.values(), *attachments.values()):
            os.close(descriptor)
        raise
    return Attached(bytecode, tables, programs, attachments, reads)


def _is_typed(point: Tracepoint, reads: Reads) -> bool:
    return reads is not Reads.CALLS and point.file == TYPED


def _in_order(program: ProgramText) -> Iterator[tuple[Tracepoint, int, str]]:
    """Yield tracepoints with 0 or 1 and the name of the first or second program: all first ones, then the second ones."""
    yield from ((point, 0, point.name) for point in program.tracepoints)
    yield from ((point, 1, f"again_{point.name}") for point in program.tracepoints if point.twice)
