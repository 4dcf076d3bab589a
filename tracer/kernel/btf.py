"""What the running kernel says of its own types, from BTF, through libbpf (which bcc's package brings along).

Offsets, bit fields, enumerators and the arguments of tracepoints are read here, so that nothing is guessed from a version.
A parser of our own in Python was the alternative: 120,000 types take it longer than all the rest of the start.
"""

from __future__ import annotations

import ctypes
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from tracer.errors import TcptraceError
from tracer.kernel.bpf import libbpf

BTF_FILE = "/sys/kernel/btf/vmlinux"

# enum values of include/uapi/linux/btf.h
PTR, ARRAY, STRUCT, UNION, ENUM, TYPEDEF, VOLATILE, CONST, FUNC, FUNC_PROTO = 2, 3, 4, 5, 6, 8, 9, 10, 12, 13
TYPE_TAG = 18
_TRANSPARENT = {TYPEDEF, VOLATILE, CONST, TYPE_TAG}
_HEADER = 12

DEEPEST = 32
"""Steps from a type to what it stands for, as in libbpf: types can go in circles."""


@dataclass(frozen=True)
class Member:
    """Where a member lies: byte offset, size in bytes, and for a bit field its shift and width in that byte (else 0)."""

    offset: int
    size: int
    shift: int = 0
    bits: int = 0


@dataclass(frozen=True)
class _Type:
    address: int
    kind: int
    length: int
    bit_fields: bool
    target: int


class Btf:
    """The running kernel's type information, or that in another one's image (vmlinux); libbpf's copy is held until close()."""

    def __init__(self, image: str | None = None) -> None:
        self._lib = _libbpf()
        found = self._lib.btf__parse(image.encode(), None) if image else self._lib.btf__load_vmlinux_btf()
        self._btf = ctypes.c_void_p(found)
        self._found: dict[tuple[str, int], int] = {}
        if not self._btf.value or self._btf.value >= 2**64 - 4096:
            raise TcptraceError(
                f"cannot read the kernel's type information from {image or BTF_FILE}",
                "tcptrace needs Linux 5.8 or newer, built with CONFIG_DEBUG_INFO_BTF; every distribution's kernel is",
            )

    def close(self) -> None:
        """Free libbpf's copy."""
        self._lib.btf__free(self._btf)

    def member(self, type_name: str, path: str) -> Member | None:
        """Return where `path` (members joined by dots) lies in struct `type_name`, or None when it is not there.

        Anonymous structs and unions inside are looked through; an array on the way stands for its first element.
        """
        type_id = self._find(type_name, STRUCT)
        found: Member | None = None
        bit = 0
        for name in path.split("."):
            step = self._step(type_id, name, set())
            if step is None:
                return None
            type_id, at, width = step
            bit += at
            size = self._size(type_id)
            if size < 0:
                return None
            found = Member(bit // 8, size, bit % 8 if width else 0, width)
        return found

    def enumerators(self, name: str) -> dict[int, str]:
        """Return an enum's names by value, empty when the kernel has no such enum."""
        type_ = self._type(self._find(name, ENUM))
        if type_ is None:
            return {}
        rows = _words(type_.address + _HEADER, 2 * type_.length)
        return {rows[2 * i + 1]: self._name(rows[2 * i]) for i in range(type_.length)}

    def tracepoint_arguments(self, name: str) -> int | None:
        """Return how many arguments a raw tracepoint passes, or None when there is no such tracepoint.

        The kernel describes each as a typedef btf_trace_NAME of a function that takes a cookie first.
        """
        type_ = self._follow(self.tracepoint(name), {TYPEDEF, PTR})
        return None if type_ is None or type_.kind != FUNC_PROTO else type_.length - 1

    def tracepoint(self, name: str) -> int:
        """Return the number of the typedef that describes a raw tracepoint's arguments; 0 or less when there is none."""
        return self._find(f"btf_trace_{name}", TYPEDEF)

    def has_function(self, name: str) -> bool:
        """Say whether the kernel has a function of this name."""
        return self.function(name) > 0

    def function(self, name: str) -> int:
        """Return the number of a function's type, by which programs refer to it; 0 or less when there is none."""
        return self._find(name, FUNC)

    def structure(self, name: str) -> int:
        """Return the number of a struct; 0 or less when there is none."""
        return self._find(name, STRUCT)

    def has_name(self, name: str) -> bool:
        """Say whether anything has this name: by number and kind, libbpf finds no enumerator of an enum without a name."""
        size = ctypes.c_uint32()
        data = self._lib.btf__raw_data(self._btf, ctypes.byref(size))
        return bool(data) and b"\0%s\0" % name.encode() in ctypes.string_at(data, size.value)

    def _find(self, name: str, kind: int) -> int:
        # libbpf goes through all types of the kernel, a fifth of a millisecond for each name
        if (name, kind) not in self._found:
            self._found[name, kind] = int(self._lib.btf__find_by_name_kind(self._btf, name.encode(), kind))
        return self._found[name, kind]

    def _name(self, offset: int) -> str:
        found = self._lib.btf__name_by_offset(self._btf, offset)
        return ctypes.string_at(found).decode(errors="replace") if found else ""

    def _type(self, type_id: int) -> _Type | None:
        if type_id <= 0:
            return None
        address = self._lib.btf__type_by_id(self._btf, type_id)
        if not address:
            return None
        _, info, target = _words(address, 3)
        return _Type(address, info >> 24 & 31, info & 0xFFFF, bool(info >> 31), target)

    def _follow(self, type_id: int, kinds: AbstractSet[int]) -> _Type | None:
        """Return the first type on the way that is of none of these kinds, None where the way is too long, or ends."""
        type_ = self._type(type_id)
        for _ in range(DEEPEST):
            if type_ is None or type_.kind not in kinds:
                return type_
            type_ = self._type(_words(type_.address + _HEADER, 1)[0] if type_.kind == ARRAY else type_.target)
        return None

    def _size(self, type_id: int) -> int:
        return int(self._lib.btf__resolve_size(self._btf, type_id))

    def _step(self, type_id: int, name: str, seen: set[int]) -> tuple[int, int, int] | None:
        """Return (type, bit offset, bit width) of a direct member, searching anonymous ones depth first, each type once."""
        type_ = self._follow(type_id, _TRANSPARENT | {ARRAY})
        if type_ is None or type_.kind not in {STRUCT, UNION} or type_.address in seen:
            return None
        seen.add(type_.address)
        rows = _words(type_.address + _HEADER, 3 * type_.length)
        for i in range(type_.length):
            name_offset, member, place = rows[3 * i : 3 * i + 3]
            at, width = (place & 0xFFFFFF, place >> 24) if type_.bit_fields else (place, 0)
            own = self._name(name_offset)
            if own == name:
                return member, at, width
            if not own and (inside := self._step(member, name, seen)) is not None:
                return inside[0], at + inside[1], inside[2]
        return None


def _words(address: int, count: int) -> list[int]:
    return list((ctypes.c_uint32 * count).from_address(address))


def _libbpf() -> ctypes.CDLL:
    lib = libbpf()
    for name in ("btf__load_vmlinux_btf", "btf__parse", "btf__type_by_id", "btf__name_by_offset", "btf__raw_data"):
        getattr(lib, name).restype = ctypes.c_void_p
    # its complaints go to standard error; what they mean for us is said by who asks
    lib.libbpf_set_print(None)
    lib.btf__parse.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
    lib.btf__free.argtypes = [ctypes.c_void_p]
    lib.btf__raw_data.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    lib.btf__type_by_id.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    lib.btf__name_by_offset.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    lib.btf__find_by_name_kind.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint32]
    lib.btf__resolve_size.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    lib.btf__resolve_size.restype = ctypes.c_int64
    return lib
