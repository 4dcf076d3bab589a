"""From C text to bytecode, with the distribution's bcc. Nothing of it is left in the kernel.

bcc compiles and makes its own small tables; loading and attaching are ours (load.py), since bcc loads each program once, knows
no iterators, and would have to be imported, which takes longer than all the rest of a start with programs from the cache.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from typing import Any

from tracer.errors import TcptraceError
from tracer.kernel.bytecode import Bytecode, Table, take_apart
from tracer.kernel.shipped import shipped

CFLAGS = [
    "-Wall",
    "-Wno-unused-function",
    "-Wno-unused-variable",
    "-Wno-macro-redefined",  # bcc says what it thinks of code that is its own
    # what is an error for later compilers anyway, and would be found on later distributions alone
    *("-Werror=implicit-function-declaration", "-Werror=int-conversion", "-Werror=incompatible-pointer-types"),
    "-g0",  # without debug information it takes a tenth less; nothing that loads needs it
]


def import_bcc() -> Any:
    """Return the distribution's bcc module, and not the unrelated one of that name on PyPI."""
    try:
        import bcc  # noqa: PLC0415 - it takes root's time to import, and may be missing
    except (ImportError, OSError) as error:  # OSError: a library of its own is missing or damaged
        raise TcptraceError(
            f"cannot import bcc: {error}", "install the distribution's package: apt-get install python3-bpfcc"
        ) from error
    if not hasattr(bcc, "BPF"):
        raise TcptraceError(f"{next(iter(bcc.__path__))} is not the BPF Compiler Collection", "apt-get install python3-bpfcc")
    return bcc


def compile_text(text: str) -> Bytecode:
    """Return what the text compiles to; raises TcptraceError with what the compiler said."""
    bcc = import_bcc()
    os.environ["BCC_KERNEL_SOURCE"] = str(shipped("bpf") / "kernel")
    with captured_stderr() as said:
        try:
            bpf = bcc.BPF(text=text, cflags=CFLAGS)
        except Exception as error:  # bcc raises plain Exception for all that can go wrong
            last = "\n".join(said().strip().splitlines()[-20:])
            raise TcptraceError(
                f"bcc cannot compile the BPF programs: {error}\n{last}".rstrip(),
                "please report this with the output of 'tcptrace doctor'",
            ) from error
    lib, module = bcc.lib, ctypes.c_void_p(bpf.module)
    lib.bpf_table_name.restype = ctypes.c_char_p  # which bcc's Python does not use
    tables = {_table(lib, module, i): lib.bpf_table_fd_id(module, i) for i in range(lib.bpf_num_tables(module))}
    names = {descriptor: table.name for table, descriptor in tables.items()}
    functions = [lib.bpf_function_name(module, i) for i in range(lib.bpf_num_functions(module))]
    programs = {name.decode(): take_apart(_code(lib, module, name), names) for name in functions}
    return Bytecode(str(bcc.__version__), tuple(tables), programs)


def _table(lib: Any, module: Any, i: int) -> Table:
    return Table(
        name=lib.bpf_table_name(module, i).decode(),
        type=lib.bpf_table_type_id(module, i),
        key_bytes=lib.bpf_table_key_size_id(module, i),
        value_bytes=lib.bpf_table_leaf_size_id(module, i),
        entries=lib.bpf_table_max_entries_id(module, i),
        flags=lib.bpf_table_flags_id(module, i),
    )


def _code(lib: Any, module: Any, name: bytes) -> bytes:
    start = ctypes.cast(lib.bpf_function_start(module, name), ctypes.c_void_p).value or 0
    return ctypes.string_at(start, lib.bpf_function_size(module, name))


@contextlib.contextmanager
def captured_stderr() -> Iterator[Any]:
    """Catch what C libraries write to descriptor 2; yields a function that returns it so far."""
    import tempfile  # noqa: PLC0415 - a start with kept programs compiles nothing

    with tempfile.TemporaryFile() as file:
        saved = os.dup(2)
        os.dup2(file.fileno(), 2)

        def said() -> str:
            file.seek(0)
            return file.read().decode(errors="replace")

        try:
            yield said
        finally:
            os.dup2(saved, 2)
            os.close(saved)
