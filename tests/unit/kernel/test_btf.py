"""Against the running kernel's own types, with bpftool as the second opinion."""

from __future__ import annotations

import ctypes
import functools
import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.needs import tool
from tracer.kernel.btf import BTF_FILE, Btf, Member
from tracer.kernel.fields import FIELDS, KernelField


def _obstacle() -> str | None:
    if not os.access(BTF_FILE, os.R_OK):
        return f"needs a readable {BTF_FILE}"
    try:
        ctypes.CDLL("libbpf.so.1")
    except OSError:
        return "needs libbpf.so.1: apt-get install libbpf1"
    return None


OBSTACLE = _obstacle()
pytestmark = pytest.mark.skipif(OBSTACLE is not None, reason=OBSTACLE or "")


@pytest.fixture(scope="module")
def btf() -> Iterator[Btf]:
    types = Btf()
    yield types
    types.close()


@dataclass(frozen=True)
class Dump:
    """What bpftool prints of all types, by id; an implementation of the same questions that shares nothing with ours."""

    types: dict[int, dict[str, Any]]

    def find(self, kind: str, name: str) -> dict[str, Any] | None:
        return next((t for t in self.types.values() if t["kind"] == kind and t["name"] == name), None)

    def plain(self, type_id: int) -> dict[str, Any]:
        found = self.types[type_id]
        while found["kind"] in {"TYPEDEF", "CONST", "VOLATILE", "TYPE_TAG"}:
            found = self.types[found["type_id"]]
        return found

    def size(self, type_id: int) -> int:
        found = self.plain(type_id)
        if found["kind"] == "PTR":
            return ctypes.sizeof(ctypes.c_void_p)
        if found["kind"] == "ARRAY":
            return int(found["nr_elems"]) * self.size(found["type_id"])
        return int(found["size"])

    def flat(self, of: dict[str, Any], base: int = 0) -> Iterator[tuple[str, int, int, int]]:
        """Yield (name, bit offset, bit width, type id) of all members, with those of anonymous ones in their place."""
        for member in of.get("members", ()):
            at = base + member["bits_offset"]
            if member["name"] == "(anon)":
                yield from self.flat(self.plain(member["type_id"]), at)
            else:
                yield member["name"], at, member.get("bitfield_size", 0), member["type_id"]

    def member(self, field: KernelField) -> Member | None:
        inside = self.find("STRUCT", field.type)
        found, bit = None, 0
        for name in field.path.split("."):
            row = next((row for row in self.flat(inside or {}) if row[0] == name), None)
            if row is None:
                return None
            _, at, width, type_id = row
            bit += at
            found = Member(bit // 8, self.size(type_id), bit % 8 if width else 0, width)
            inside = self.plain(type_id)
            while inside["kind"] == "ARRAY":
                inside = self.plain(inside["type_id"])
        return found


@functools.cache
def dump() -> Dump:
    said = subprocess.run([tool("bpftool"), "-j", "btf", "dump", "file", BTF_FILE], capture_output=True, check=True).stdout
    return Dump({row["id"]: row for row in json.loads(said)["types"]})


@pytest.mark.needs("bpftool")
@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.macro)
def test_a_field_lies_where_bpftool_says(field: KernelField, btf: Btf) -> None:
    assert btf.member(field.type, field.path) == dump().member(field)


@pytest.mark.needs("bpftool")
@pytest.mark.parametrize("type_name", ["sock_common", "sock", "tcp_sock", "inet_sock", "sk_buff", "request_sock"])
def test_every_member_of_a_struct_lies_where_bpftool_says(type_name: str, btf: Btf) -> None:
    types = dump()
    found = types.find("STRUCT", type_name)
    assert found is not None
    seen: dict[str, Member] = {}
    for name, at, width, type_id in types.flat(found):
        seen.setdefault(name, Member(at // 8, types.size(type_id), at % 8 if width else 0, width))
    assert len(seen) > 10
    assert {name: btf.member(type_name, name) for name in seen} == seen


@pytest.mark.needs("bpftool")
def test_enumerators_are_those_that_bpftool_prints(btf: Btf) -> None:
    found = dump().find("ENUM", "tcp_ca_state")
    assert found is not None
    assert btf.enumerators("tcp_ca_state") == {row["val"]: row["name"] for row in found["values"]}


def test_a_member_of_anonymous_unions_is_found_from_the_outside(btf: Btf) -> None:
    # struct sock_common begins with a union of a struct of daddr and rcv_saddr
    daddr, rcv_saddr = btf.member("sock_common", "skc_daddr"), btf.member("sock_common", "skc_rcv_saddr")
    assert daddr == Member(0, 4)
    assert rcv_saddr == Member(4, 4)


def test_a_path_goes_through_named_members(btf: Btf) -> None:
    outer, inner = btf.member("net", "ns"), btf.member("net", "ns.inum")
    assert outer is not None
    assert inner is not None
    assert outer.offset <= inner.offset < outer.offset + outer.size
    assert inner.size == 4


def test_a_path_goes_through_the_first_element_of_an_array(btf: Btf) -> None:
    array, first = btf.member("tcp_sock", "rtt_min.s"), btf.member("tcp_sock", "rtt_min.s.t")
    assert array is not None
    assert first is not None
    assert first.offset == array.offset
    assert first.size == 4 < array.size


def test_a_bit_field_has_its_place_in_its_byte(btf: Btf) -> None:
    ca_state = btf.member("inet_connection_sock", "icsk_ca_state")
    assert ca_state is not None
    assert ca_state.bits == 5
    assert ca_state.shift + ca_state.bits <= 8


def test_a_plain_member_has_no_shift_and_no_bits(btf: Btf) -> None:
    srtt = btf.member("tcp_sock", "srtt_us")
    assert srtt is not None
    assert (srtt.size, srtt.shift, srtt.bits) == (4, 0, 0)


@pytest.mark.parametrize(
    ("type_name", "path"),
    [
        ("sock", "no_such_member"),
        ("no_such_struct", "sk_err"),
        ("sock", "sk_err.deeper"),
        ("net", "ns.no_such_member"),
        ("net", ""),
        ("tcp_ca_state", "TCP_CA_Open"),
        ("sk_rst_reason", ""),
    ],
)
def test_what_is_not_there_is_none(type_name: str, path: str, btf: Btf) -> None:
    assert btf.member(type_name, path) is None


def test_a_member_of_a_union_type_is_not_taken_for_one_of_a_struct(btf: Btf) -> None:
    assert btf.member("bpf_attr", "map_type") is None


def test_enumerators_are_named_by_value(btf: Btf) -> None:
    names = btf.enumerators("tcp_ca_state")
    assert {0: "TCP_CA_Open", 3: "TCP_CA_Recovery", 4: "TCP_CA_Loss"}.items() <= names.items()


def test_an_unknown_enum_has_no_enumerators(btf: Btf) -> None:
    assert btf.enumerators("no_such_enum") == {}


@pytest.mark.parametrize(
    ("name", "arguments"), [("inet_sock_set_state", 3), ("tcp_receive_reset", 1), ("tcp_retransmit_synack", 2)]
)
def test_a_tracepoint_has_the_arguments_of_its_handler_without_the_cookie(name: str, arguments: int, btf: Btf) -> None:
    assert btf.tracepoint_arguments(name) == arguments


@pytest.mark.parametrize("name", ["tcp_retransmit_skb", "tcp_send_reset"])
def test_a_tracepoint_that_grew_has_two_arguments_or_three(name: str, btf: Btf) -> None:
    assert btf.tracepoint_arguments(name) in {2, 3}


@pytest.mark.parametrize("name", ["no_such_tracepoint", "", "tcp_sock"])
def test_an_unknown_tracepoint_is_none(name: str, btf: Btf) -> None:
    assert btf.tracepoint_arguments(name) is None


def test_a_function_is_found_by_name(btf: Btf) -> None:
    assert btf.has_function("tcp_v4_connect")
    assert not btf.has_function("tcp_v5_connect")
    assert not btf.has_function("sock")


def test_an_enumerator_is_found_by_name(btf: Btf) -> None:
    assert btf.has_name("TCP_NEW_SYN_RECV")
    assert not btf.has_name("TCP_NEW_SYN")


def test_the_fields_that_have_a_purpose_of_their_own_are_told_apart() -> None:
    macros = [field.macro for field in FIELDS]
    assert len(set(macros)) == len(macros)
    assert all(re.fullmatch(r"\w+__\w+", macro) for macro in macros)
