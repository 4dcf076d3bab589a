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


@dataclass(frozen=True)
class Attached:
    """Descriptors of tables, programs and attachments, each by name; a second program of a tracepoint is again_NAME.

    direct: whether the kernel took the programs that read by direct loads (bpf/read.h).
    """

    bytecode: Bytecode
    tables: dict[str, int]
    programs: dict[str, int]
    attachments: dict[str, int]
    direct: bool


def may_be_direct(btf: Btf) -> bool:
    """Say whether the kernel has the helpers that give typed pointers (Linux 5.11). Whether it takes these is tried."""
    return btf.has_function("bpf_get_current_task_btf")


def lift_memory_limit() -> None:
    """Let tables have what memory they need: before Linux 5.11 they are charged against RLIMIT_MEMLOCK."""
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def attach_programs(btf: Btf, program: ProgramText, *, direct: bool = True) -> Attached:
    """Compile, load and attach; with helper calls instead of direct loads where these are not wanted or the kernel refuses.

    Raises TcptraceError when the text does not compile, OSError when the kernel refuses.
    """
    lift_memory_limit()
    if direct and may_be_direct(btf):
        with contextlib.suppress(ProgramRefusedError):
            return attach_as(btf, program, direct=True)
    return attach_as(btf, program, direct=False)


def attach_as(btf: Btf, program: ProgramText, *, direct: bool) -> Attached:
    """Compile, load and attach, reading by direct loads or by helper calls; raises as attach_programs() does."""
    first, others = (compiled(text) for text in program.texts(direct=direct))
    bytecode = first.joined(others)
    tables = {table.name: create_table(table, program.entries.get(table.name, table.entries)) for table in bytecode.tables}
    programs, attachments = {}, {}
    try:
        for point, second, name in _in_order(program):
            kind = typed(btf.tracepoint(point.name)) if direct and point.file == TYPED else UNTYPED
            code = put_together(bytecode.programs[f"on_{point.name}"], tables, (second, *program.constants[1:]))
            programs[name] = load_program(name, code, kind)
        for point, _, name in _in_order(program):
            attachments[name] = attach(programs[name], None if direct and point.file == TYPED else point.name)
    except OSError:
        for descriptor in (*tables.values(), *programs.values(), *attachments.values()):
            os.close(descriptor)
        raise
    return Attached(bytecode, tables, programs, attachments, direct)


def _in_order(program: ProgramText) -> Iterator[tuple[Tracepoint, int, str]]:
    """Yield tracepoints with 0 or 1 and the name of the first or second program: all first ones, then the second ones."""
    yield from ((point, 0, point.name) for point in program.tracepoints)
    yield from ((point, 1, f"again_{point.name}") for point in program.tracepoints if point.twice)
