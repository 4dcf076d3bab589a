"""What event.h and places.h say, as Python values: the fields of records and tables, and the enumerations' numbers.

The headers are the only definition. This reads a small, strict subset of C and refuses anything else, because a layout that is
half understood reads garbage; the static assertions it renders make the compiler check what was understood. ctypes
structures or struct formats written by hand were the alternative: a second definition, which drifts.

A member is as wide on every machine, and none may stand behind padding: so the record is the same on x86-64
and arm64.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property

from tracer.errors import TcptraceError

SIZES = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "s32": 4}

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_BLOCK = re.compile(r"\s*(enum|struct)\s+(\w+)\s*\{([^{}]*)\}\s*;", re.DOTALL)
_FIELD = re.compile(r"\s*(\w+)\s+(\w+)\s*(?:\[\s*(\d+)\s*\])?\s*")
_CONSTANT = re.compile(r"\s*(\w+)\s*=\s*(0|[1-9]\d*)\s*")  # a leading 0 would mean octal in C


@dataclass(frozen=True)
class Field:
    """One member of the record: its C type, element count (1 for a scalar) and offset in bytes."""

    name: str
    type: str
    count: int
    offset: int

    @property
    def size(self) -> int:
        """Bytes the member takes."""
        return SIZES[self.type] * self.count


@dataclass(frozen=True)
class Layout:
    """The whole header: the record and the constants beside it."""

    fields: tuple[Field, ...]
    enums: dict[str, dict[str, int]]

    @property
    def size(self) -> int:
        """Bytes of one record."""
        return size_of(self.fields)

    @cached_property
    def identity(self) -> str:
        """Sixteen hexadecimal digits that change whenever the record or a constant does; recordings carry them."""
        text = repr((self.fields, sorted((k, sorted(v.items())) for k, v in self.enums.items())))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def assertions(self) -> str:
        """C text that fails to compile unless the compiler sees the same offsets and size."""
        return _assertions("event", self.fields)


@dataclass(frozen=True)
class Tables:
    """The header of tables that both sides write: the members of each structure, and the constants beside them."""

    structs: dict[str, tuple[Field, ...]]
    enums: dict[str, dict[str, int]]

    def assertions(self) -> str:
        """The same for each structure."""
        return "".join(_assertions(name, fields) for name, fields in self.structs.items())


def parse_layout(text: str) -> Layout:
    """Return the Layout of a header made only of comments, enums with explicit values, and one struct named event.

    Raises TcptraceError when any part is not understood, a member would need padding, or the size is no multiple of 8
    (the ring buffer rounds records up to 8 bytes, so that only then are they an array).
    """
    tables = parse_tables(text, "event.h")
    if unexpected := [name for name in tables.structs if name != "event"]:
        raise _refuse(f"struct {unexpected[0]}")
    if not tables.structs:
        raise TcptraceError("event.h defines no struct event", "reinstall tcptrace: its bpf/ files are damaged")
    return Layout(tables.structs["event"], tables.enums)


def parse_tables(text: str, file: str) -> Tables:
    """Return the same of a header with any structures, each at most once; raises likewise. file: its name, for errors."""
    rest = _COMMENT.sub(" ", text)
    tables = Tables({}, {})
    while block := _BLOCK.match(rest):
        kind, name, body = block.groups()
        if kind == "enum":
            tables.enums[name] = _parse_enum(name, body, file)
        elif name not in tables.structs:
            tables.structs[name] = _parse_fields(name, body, file)
        else:
            raise _refuse(f"struct {name}", file)
        rest = rest[block.end() :]
    if rest.strip():
        raise _refuse(rest.strip().splitlines()[0], file)
    for name, fields in tables.structs.items():
        if size_of(fields) % 8:
            what = "the record" if name == "event" else f"struct {name}"
            raise TcptraceError(
                f"{file}: {what} takes {size_of(fields)} bytes, not a multiple of 8", "pad it with reserved bytes"
            )
    return tables


def size_of(fields: tuple[Field, ...]) -> int:
    """Return how many bytes a structure takes."""
    return fields[-1].offset + fields[-1].size


def _assertions(name: str, fields: tuple[Field, ...]) -> str:
    checks = [
        f'_Static_assert(__builtin_offsetof(struct {name}, {f.name}) == {f.offset}, "layout of {f.name}");\n'
        f'_Static_assert(sizeof(((struct {name} *)0)->{f.name}) == {f.size}, "size of {f.name}");\n'
        for f in fields
    ]
    return "".join(checks) + f'_Static_assert(sizeof(struct {name}) == {size_of(fields)}, "size of {name}");\n'


def _parse_enum(name: str, body: str, file: str) -> dict[str, int]:
    constants: dict[str, int] = {}
    for part in body.rstrip().removesuffix(",").split(","):
        match = _CONSTANT.fullmatch(part)
        if match is None or match[1] in constants:
            raise _refuse(f"enum {name}: {part.strip()}", file)
        constants[match[1]] = int(match[2])
    return constants


def _parse_fields(name: str, body: str, file: str) -> tuple[Field, ...]:
    fields: list[Field] = []
    offset = 0
    if not body.rstrip().endswith(";"):
        raise _refuse(body.strip().splitlines()[-1] if body.strip() else f"struct {name} {{}}", file)
    for part in body.rstrip().removesuffix(";").split(";"):
        match = _FIELD.fullmatch(part)
        if match is None or match[1] not in SIZES or any(f.name == match[2] for f in fields):
            raise _refuse(f"struct {name}: {part.strip()}", file)
        field = Field(match[2], match[1], int(match[3] or 1), offset)
        if not field.count:
            raise _refuse(f"struct {name}: {part.strip()}", file)
        if offset % SIZES[field.type]:
            raise TcptraceError(
                f"{file}: {field.name} would start at byte {offset}, behind padding", "order the members from large to small"
            )
        fields.append(field)
        offset += field.size
    return tuple(fields)


def _refuse(what: str, file: str = "event.h") -> TcptraceError:
    return TcptraceError(f"{file}: cannot read `{what}`", "only enums with values and fixed-size members are understood")
