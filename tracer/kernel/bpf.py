"""The kernel's bpf() by libbpf, which bcc's package brings along: tables, programs, attachments."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass

from tracer.errors import TcptraceError
from tracer.kernel.bytecode import INSTRUCTION, Table

# enum bpf_prog_type and enum bpf_attach_type in include/uapi/linux/bpf.h
RAW_TRACEPOINT = 17
TRACING = 26
TRACE_RAW_TP = 23
TRACE_ITER = 28

BPF_NOEXIST = 1

FROZEN = frozenset({"counters"})
"""Tables that only programs write: not the process that reads them either, whoever has got into it."""

LOG_BYTES = 1 << 24
"""The most that the verifier is asked to say; before Linux 6.4 it fails when it has more to say."""

LOG_LINES = 20


class ProgramRefusedError(OSError):
    """The kernel does not take a program. said: the last lines of the verifier, empty where it was not asked."""

    def __init__(self, number: int, name: str, said: str) -> None:
        """Keep errno, the program's name and the verifier's words."""
        super().__init__(number, os.strerror(number))
        self.name = name
        self.said = said


class _MapOptions(ctypes.Structure):
    """struct bpf_map_create_opts of libbpf 1.0; sz tells later ones that no more is given."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("btf_fd", ctypes.c_uint32),
        ("btf_key_type_id", ctypes.c_uint32),
        ("btf_value_type_id", ctypes.c_uint32),
        ("btf_vmlinux_value_type_id", ctypes.c_uint32),
        ("inner_map_fd", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
    )


class _ProgramOptions(ctypes.Structure):
    """struct bpf_prog_load_opts of libbpf 1.0."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("attempts", ctypes.c_int),
        ("expected_attach_type", ctypes.c_uint32),
        ("prog_btf_fd", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
        ("prog_ifindex", ctypes.c_uint32),
        ("kern_version", ctypes.c_uint32),
        ("attach_btf_id", ctypes.c_uint32),
        ("attach_prog_fd", ctypes.c_uint32),
        ("attach_btf_obj_fd", ctypes.c_uint32),
        ("fd_array", ctypes.c_void_p),
        ("func_info", ctypes.c_void_p),
        ("func_info_cnt", ctypes.c_uint32),
        ("func_info_rec_size", ctypes.c_uint32),
        ("line_info", ctypes.c_void_p),
        ("line_info_cnt", ctypes.c_uint32),
        ("line_info_rec_size", ctypes.c_uint32),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_char_p),
    )


def libbpf() -> ctypes.CDLL:
    """Return the library; raises TcptraceError where it is missing."""
    try:
        return ctypes.CDLL("libbpf.so.1")
    except OSError as error:
        raise TcptraceError(f"cannot load libbpf: {error}", "install it: apt-get install libbpf1") from error


def create_table(table: Table, entries: int) -> int:
    """Make a map with so many entries and return its descriptor; raises OSError."""
    options = _MapOptions(sz=ctypes.sizeof(_MapOptions), map_flags=table.flags)
    name = table.name.encode()
    descriptor = _checked(
        libbpf().bpf_map_create(table.type, name, table.key_bytes, table.value_bytes, entries, ctypes.byref(options))
    )
    if table.name in FROZEN:
        libbpf().bpf_map_freeze(descriptor)  # where the kernel cannot, they are as they were
    return descriptor


def put_new(table: int, key: bytes, value: bytes) -> None:
    """Add an entry to the map with that descriptor; raises OSError, FileExistsError where the key has one."""
    put(table, key, value, BPF_NOEXIST)


def put(table: int, key: bytes, value: bytes, flags: int = 0) -> None:
    """Have an entry in the map with that descriptor; raises OSError."""
    _checked(libbpf().bpf_map_update_elem(table, key, value, ctypes.c_uint64(flags)))


def keys_of(table: int, size: int) -> Iterator[bytes]:
    """Yield the keys, of so many bytes, of the map with that descriptor, which nobody changes meanwhile."""
    before, key = None, ctypes.create_string_buffer(size)
    while not libbpf().bpf_map_get_next_key(table, before, key):
        yield key.raw
        before, key = key, ctypes.create_string_buffer(size)


def number_of(descriptor: int) -> int:
    """Return the kernel's number of the map or program with that descriptor; raises OSError."""
    info, size = (ctypes.c_uint32 * 64)(), ctypes.c_uint32(256)  # struct bpf_map_info, bpf_prog_info: type, id, ...
    _checked(libbpf().bpf_obj_get_info_by_fd(descriptor, info, ctypes.byref(size)))
    return info[1]


@dataclass(frozen=True)
class Kind:
    """What sort of program it is: enum bpf_prog_type, enum bpf_attach_type, and the BTF type of what it is attached to."""

    type: int
    attach_type: int = 0
    attach_btf: int = 0


UNTYPED = Kind(RAW_TRACEPOINT)
"""A raw tracepoint whose arguments are numbers to the verifier."""


def typed(tracepoint: int) -> Kind:
    """A raw tracepoint whose arguments have types: those of the typedef with that number in the kernel's BTF."""
    return Kind(TRACING, TRACE_RAW_TP, tracepoint)


def iterator(function: int) -> Kind:
    """An iterator over what that function, by its number in the kernel's BTF, goes through."""
    return Kind(TRACING, TRACE_ITER, function)


def load_program(name: str, instructions: bytes, kind: Kind = UNTYPED) -> int:
    """Load a program and return its descriptor; raises ProgramRefusedError."""
    options = _ProgramOptions(
        sz=ctypes.sizeof(_ProgramOptions), expected_attach_type=kind.attach_type, attach_btf_id=kind.attach_btf
    )
    descriptor = _load(name, instructions, kind.type, options)
    if descriptor >= 0:
        return descriptor
    if descriptor == -errno.EPERM:  # there is no verifier to ask before the right to load
        raise ProgramRefusedError(errno.EPERM, name, "")
    said = ctypes.create_string_buffer(LOG_BYTES)
    options.log_level, options.log_size, options.log_buf = 1, LOG_BYTES, ctypes.cast(said, ctypes.c_char_p)
    again = _load(name, instructions, kind.type, options)
    if again >= 0:
        return again
    last = said.value.decode(errors="replace").strip().splitlines()[-LOG_LINES:]
    raise ProgramRefusedError(-descriptor, name, "\n".join(last))


def attach(program: int, tracepoint: str | None) -> int:
    """Run a loaded program at every hit of a raw tracepoint, until the descriptor returned is closed; raises OSError.

    tracepoint: None for a typed program, which knows its own.
    """
    return _checked(libbpf().bpf_raw_tracepoint_open(tracepoint and tracepoint.encode(), program))


def run_iterator(program: int) -> bytes:
    """Run a loaded iterator over all there is, once, and return what it writes: a page at most; raises OSError."""
    link = _checked(libbpf().bpf_link_create(program, 0, TRACE_ITER, None))
    try:
        reader = _checked(libbpf().bpf_iter_create(link))
        try:
            return os.read(reader, mmap.PAGESIZE)
        finally:
            os.close(reader)
    finally:
        os.close(link)


def _load(name: str, instructions: bytes, type_: int, options: _ProgramOptions) -> int:
    count = ctypes.c_size_t(len(instructions) // INSTRUCTION.size)
    return int(libbpf().bpf_prog_load(type_, name.encode(), b"GPL", instructions, count, ctypes.byref(options)))


def _checked(result: int) -> int:
    """Return a descriptor or 0; libbpf 1.0 returns -errno for what failed."""
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result
