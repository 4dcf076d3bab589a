from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from tests.needs import tool
from tracer.errors import TcptraceError
from tracer.kernel.layout import SIZES, Field, Layout, parse_layout, parse_tables
from tracer.kernel.shipped import read_source

SMALL = """
/* a { b; } struct event { */
enum kind {
	ONE = 1,	/* the first, "quoted"; enum x { */
	TWO = 2,
};
struct event {
	u64 time_ns;	/* } */
	u16 port;
	u8 name[6];
};
"""

TYPES = "\n".join(
    f"typedef {c_type} {name};"
    for name, c_type in {
        "u8": "unsigned char",
        "u16": "unsigned short",
        "u32": "unsigned int",
        "u64": "unsigned long long",
        "s32": "int",
    }.items()
)


def struct(body: str) -> str:
    return f"struct event {{ {body} }};"


def test_the_shipped_header_is_understood() -> None:
    layout = parse_layout(read_source("event.h"))
    names = [field.name for field in layout.fields]
    assert names[0] == "time_ns"
    assert len(set(names)) == len(names) > 20
    assert layout.size % 8 == 0
    assert layout.enums["tcp_state"]["STATE_CLOSE"] == 7
    assert layout.enums["counter"]["COUNTER_CELLS"] == 384


def test_every_member_follows_the_one_before_without_a_gap() -> None:
    offset = 0
    for field in parse_layout(read_source("event.h")).fields:
        assert field.offset == offset
        offset += field.size


def test_braces_and_semicolons_in_comments_mean_nothing() -> None:
    layout = parse_layout(SMALL)
    assert layout.fields == (Field("time_ns", "u64", 1, 0), Field("port", "u16", 1, 8), Field("name", "u8", 6, 10))
    assert layout.enums == {"kind": {"ONE": 1, "TWO": 2}}


def test_an_enum_may_do_without_the_last_comma() -> None:
    assert parse_layout("enum kind { ONE = 1 };" + struct("u64 a;")).enums == {"kind": {"ONE": 1}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (struct("long a;"), "long a"),
        (struct("__u64 a;"), "__u64 a"),
        (struct("u64 *a;"), r"u64 \*a"),
        (struct("u64 a : 3;"), "u64 a : 3"),
        (struct("const u64 a;"), "const u64 a"),
        (struct("u64 a, b;"), "u64 a, b"),
        (struct("u64 a[2][2];"), r"u64 a\[2\]\[2\]"),
        (struct("u64 a[0];"), r"u64 a\[0\]"),
        (struct("u64 a[];"), r"u64 a\[\]"),
        (struct("u64 a[N];"), r"u64 a\[N\]"),
        (struct("u64 a;;"), "struct event"),
        (struct("u64 a; u64 b"), "u64 b"),
        (struct("u64 a; u64 a;"), "u64 a"),
        (struct("union { u64 a; u32 b; };"), "struct event"),
        (struct("struct other o;"), "struct other o"),
        (struct(""), "struct event {}"),
        (struct("u64 a; // no comment of ours"), "no comment of ours"),
        (struct("u64 a;") + struct("u64 a;"), "struct event"),
        (struct("u64 a;") + "struct other { u64 a; };", "struct other"),
        (struct("u64 a;") + "union u { u64 a; };", "union u"),
        (struct("u64 a;") + "int x;", "int x;"),
        ("#define N 1\n" + struct("u64 a;"), "#define N 1"),
        (struct("u64 a;") + " /* never closed", "/\\* never closed"),
        ("struct event { u64 a; } __attribute__((packed));", "struct event"),
        ("struct event { u64 a; }", "struct event"),
        ("typedef unsigned long u64;" + struct("u64 a;"), "typedef"),
        ("enum kind { ONE };" + struct("u64 a;"), "enum kind: ONE"),
        ("enum kind { ONE = 1, ONE = 2 };" + struct("u64 a;"), "enum kind: ONE = 2"),
        ("enum kind { ONE = 1, TWO = ONE };" + struct("u64 a;"), "TWO = ONE"),
        ("enum kind { ONE = -1 };" + struct("u64 a;"), "ONE = -1"),
        ("enum kind { ONE = 0x1 };" + struct("u64 a;"), "ONE = 0x1"),
        ("enum kind { EIGHT = 010 };" + struct("u64 a;"), "EIGHT = 010"),
        ("enum kind { ONE = 1, , TWO = 2 };" + struct("u64 a;"), "enum kind"),
        ("enum kind { };" + struct("u64 a;"), "enum kind"),
        ("enum { ONE = 1 };" + struct("u64 a;"), "enum"),
    ],
)
def test_what_is_not_fully_understood_is_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(TcptraceError, match=f"^event.h: cannot read `.*{said}") as caught:
        parse_layout(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("body", "member", "offset"),
    [("u8 a; u64 b;", "b", 1), ("u32 a; u64 b;", "b", 4), ("u8 a[3]; u16 b;", "b", 3), ("u16 a; s32 b;", "b", 2)],
)
def test_a_member_behind_padding_is_refused(body: str, member: str, offset: int) -> None:
    with pytest.raises(TcptraceError, match=f"{member} would start at byte {offset}"):
        parse_layout(struct(body))


@pytest.mark.parametrize("body", ["u8 a;", "u64 a; u32 b;", "u8 a[9];"])
def test_a_size_that_is_no_multiple_of_8_is_refused(body: str) -> None:
    with pytest.raises(TcptraceError, match="not a multiple of 8"):
        parse_layout(struct(body))


@pytest.mark.parametrize("text", ["", " \n", "/* only words */", "enum kind { ONE = 1 };"])
def test_a_header_without_the_record_is_refused(text: str) -> None:
    with pytest.raises(TcptraceError, match="defines no struct event"):
        parse_layout(text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("u16 port", "u16 porto"),
        ("u16 port;", "u8 port[2];"),
        ("u64 time_ns;", "u32 time_ns[2];"),
        ("u8 name[6];", "u8 name[14];"),
        ("u16 port;\n\tu8 name[6];", "u8 name[6];\n\tu16 port;"),
        ("TWO = 2", "TWO = 3"),
        ("TWO = 2", "ZWEI = 2"),
        ("TWO = 2,", "TWO = 2, THREE = 3,"),
        ("enum kind", "enum sort"),
    ],
)
def test_the_identity_changes_when_anything_does(old: str, new: str) -> None:
    assert old in SMALL
    assert parse_layout(SMALL.replace(old, new)).identity != parse_layout(SMALL).identity


def test_the_identity_stays_when_only_words_change() -> None:
    changed = SMALL.replace("the first", "another").replace("\t", "  ")
    assert parse_layout(changed).identity == parse_layout(SMALL).identity


TABLES = """
/* two tables */
enum limit { MOST = 3 };
struct first { u64 a; u32 b[3]; u32 c; };
struct second { u64 d; };
"""


def test_a_header_of_tables_has_each_structure() -> None:
    tables = parse_tables(TABLES, "tables.h")
    assert tables.enums == {"limit": {"MOST": 3}}
    fields = {name: [(f.name, f.count, f.offset) for f in fields] for name, fields in tables.structs.items()}
    assert fields == {"first": [("a", 1, 0), ("b", 3, 8), ("c", 1, 20)], "second": [("d", 1, 0)]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TABLES + "struct first { u64 a; };", "tables.h: cannot read `struct first`"),
        (TABLES + "struct third { u32 a; };", "tables.h: struct third takes 4 bytes, not a multiple of 8"),
        (TABLES + "union { u64 a; };", "tables.h: cannot read `union"),
    ],
)
def test_a_header_of_tables_that_is_not_understood_is_refused_by_its_name(text: str, said: str) -> None:
    with pytest.raises(TcptraceError, match=f"^{said}"):
        parse_tables(text, "tables.h")


@pytest.mark.needs("gcc")
def test_the_compiler_agrees_with_the_tables_that_ship(tmp_path: Path) -> None:
    text = read_source("places.h")
    assertions = parse_tables(text, "places.h").assertions()
    assert assertions.count("struct stays, ") == len(parse_tables(text, "places.h").structs["stays"])
    assert compiles(tmp_path, f"{TYPES}\n{text}\n{assertions}")
    assert not compiles(tmp_path, f"{TYPES}\n{text.replace('u64 busy;', 'u32 busy;')}\n{assertions}")


def compiles(directory: Path, text: str) -> bool:
    source = directory / "layout.c"
    source.write_text(text, encoding="utf-8")
    return (
        subprocess.run([tool("gcc"), "-fsyntax-only", "-std=gnu11", source], capture_output=True, check=False).returncode == 0
    )


def shipped_with(assertions: str) -> str:
    return f"{TYPES}\n{read_source('event.h')}\n{assertions}"


@pytest.mark.needs("gcc")
def test_a_compiler_agrees_with_what_was_understood(tmp_path: Path) -> None:
    assert compiles(tmp_path, shipped_with(parse_layout(read_source("event.h")).assertions()))


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("index", [0, 1, 5, -1])
def test_a_compiler_stops_at_one_wrong_offset(index: int, tmp_path: Path) -> None:
    layout = parse_layout(read_source("event.h"))
    fields = list(layout.fields)
    fields[index] = replace(fields[index], offset=fields[index].offset + 1)
    assert not compiles(tmp_path, shipped_with(Layout(tuple(fields), layout.enums).assertions()))


@pytest.mark.needs("gcc")
def test_a_compiler_stops_at_one_wrong_size(tmp_path: Path) -> None:
    layout = parse_layout(read_source("event.h"))
    *others, last = layout.fields
    assert not compiles(
        tmp_path, shipped_with(Layout((*others, replace(last, count=last.count + 1)), layout.enums).assertions())
    )


@pytest.mark.needs("gcc")
def test_a_compiler_stops_when_the_record_has_one_member_more(tmp_path: Path) -> None:
    layout = parse_layout(read_source("event.h"))
    fields = layout.fields[:-1]
    assert not compiles(tmp_path, shipped_with(Layout(fields, layout.enums).assertions()))


@pytest.mark.needs("gcc")
def test_a_compiler_finds_the_same_numbers_in_the_enums(tmp_path: Path) -> None:
    enums = parse_layout(read_source("event.h")).enums
    checks = [f'_Static_assert({name} == {n}, "{name}");\n' for values in enums.values() for name, n in values.items()]
    assert compiles(tmp_path, shipped_with("".join(checks)))


@st.composite
def records(draw: st.DrawFn) -> str:
    members = draw(st.lists(st.tuples(st.sampled_from(sorted(SIZES)), st.integers(1, 9)), min_size=1, max_size=12))
    return struct(" ".join(f"{kind} m{i}[{n}];" if n > 1 else f"{kind} m{i};" for i, (kind, n) in enumerate(members)))


def accepted(text: str, refusal: str) -> Layout | None:
    """Return the layout, or None where the text was refused in these words; any other exception is raised."""
    try:
        return parse_layout(text)
    except TcptraceError as error:
        if not re.search(refusal, error.what):
            raise
        return None


@given(records())
def test_whatever_is_accepted_has_no_gap_and_a_whole_size(text: str) -> None:
    layout = accepted(text, "padding|multiple of 8")
    if layout is None:
        return
    assert layout.size == sum(field.size for field in layout.fields)
    assert all(field.offset % SIZES[field.type] == 0 for field in layout.fields)


@given(st.text(alphabet="enumstrcv u64u8{}[];=,/*\n\t#A1", max_size=60))
def test_no_text_whatever_is_worse_than_refused(text: str) -> None:
    accepted(text, r"^event\.h")
