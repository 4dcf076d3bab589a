"""The rows of FIELDS beside the C text that reads them, and what becomes of a kernel that lacks some."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tracer.errors import TcptraceError
from tracer.kernel.btf import Btf, Member
from tracer.kernel.fields import FIELDS, KernelField, field_macros
from tracer.kernel.shipped import shipped

# the macros of read.h that name a struct and a member: READ, READ_OF_3 with a C type and a base, READ_BITS with a base
READS = re.compile(
    r"\bREAD(?:_AT)?\(\s*\w+,\s*\w+,\s*(\w+),\s*(\w+)\s*\)"
    r"|\bREAD_OF_3\(\s*\w+,\s*\w+,\s*(\w+),\s*(\w+),\s*\d\s*\)"
    r"|\b(?:READ_BITS|COPY_16)\(\s*(?:\w+|\w+->\w+),(?:\s*\w+,)?\s*(\w+),\s*(\w+)\s*\)"
    r"|\b(?:OFFSET|HAVE)\(\s*(\w+),\s*(\w+)\s*\)"
)
USES = re.compile(r"\b(?:READ|READ_AT|READ_OF_3|READ_BITS|COPY_16|OFFSET|HAVE)\(")
DIRECT = re.compile(r"\b(?:OFFSET|SIZE|SHIFT|BITS)_(\w+__\w+)\b")
DEFINED_IN_TERMS_OF = {("type", "member")}


class OlderKernel(Btf):
    """A kernel that has all fields at one place, but some of them not at all."""

    def __init__(self, *lacking: str) -> None:
        self._lacking = set(lacking)

    def member(self, type_name: str, path: str) -> Member | None:
        return None if f"{type_name}.{path}" in self._lacking else Member(16, 4, 3, 5)


def sources() -> list[Path]:
    found = sorted(path for path in shipped("bpf").glob("*.[ch]"))
    assert len(found) > 5
    return found


def code_of(path: Path) -> str:
    return re.sub(r"/\*.*?\*/", " ", path.read_text(encoding="utf-8"), flags=re.DOTALL).replace("\\\n", " ")


def fields_read(code: str) -> set[str]:
    pairs = {tuple(word for word in match if word) for match in READS.findall(code)} - DEFINED_IN_TERMS_OF
    return {"__".join(pair) for pair in pairs} | set(DIRECT.findall(code))


def test_every_field_that_the_programs_read_has_its_row_and_every_row_is_read() -> None:
    read = set().union(*(fields_read(code_of(path)) for path in sources()))
    assert read == {field.macro for field in FIELDS}


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.name)
def test_every_reading_of_a_field_is_one_that_this_test_understands(path: Path) -> None:
    code = re.sub(r"#define \w+\([^)]*\).*", "", code_of(path))
    assert len(USES.findall(code)) == len(READS.findall(code))


def test_only_one_file_reads_memory_without_naming_a_field_of_a_struct() -> None:
    offsets = re.compile(r"\)sk\s*\+\s*\d|\)req\s*\+\s*\d")
    assert [path.name for path in sources() if offsets.search(code_of(path))] == []


def test_a_macro_is_the_struct_and_the_path() -> None:
    by_path = {(field.type, field.path): field.macro for field in FIELDS}
    assert by_path["tcp_sock", "rtt_min.s.v"] == "tcp_sock__rtt_min__s__v"


def test_a_field_that_is_there_gives_its_offset_size_shift_and_width() -> None:
    text, missing = field_macros(OlderKernel())
    assert missing == ()
    names = ("OFFSET", "SIZE", "SHIFT", "BITS")
    lines = [f"#define {name}_sock__sk_err {value}\n" for name, value in zip(names, (16, 4, 3, 5), strict=True)]
    assert "".join(lines) in text


def test_a_missing_optional_field_reads_as_nothing_and_is_named_once() -> None:
    text, missing = field_macros(OlderKernel("sock_common.skc_v6_daddr", "sock_common.skc_v6_rcv_saddr"))
    assert "#define OFFSET_sock_common__skc_v6_daddr -1\n" in text
    assert missing == ("IPv6",)


def test_a_missing_field_that_costs_nothing_is_not_mentioned() -> None:
    text, missing = field_macros(OlderKernel("tcp_sock.syn_fastopen_child"))
    assert "#define OFFSET_tcp_sock__syn_fastopen_child -1\n" in text
    assert missing == ()


@pytest.mark.parametrize("field", [field for field in FIELDS if field.loses is None], ids=lambda field: field.macro)
def test_a_missing_required_field_stops_the_start_by_name(field: KernelField) -> None:
    with pytest.raises(TcptraceError, match=f"struct {field.type} has no member {field.path}") as caught:
        field_macros(OlderKernel(f"{field.type}.{field.path}"))
    assert caught.value.hint


def test_every_optional_field_can_be_missing() -> None:
    optional = [f"{field.type}.{field.path}" for field in FIELDS if field.loses is not None]
    _, missing = field_macros(OlderKernel(*optional))
    assert set(missing) == {field.loses for field in FIELDS if field.loses}
