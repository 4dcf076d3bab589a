"""The text that bcc compiles, without compiling it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.partial import PARTS, without
from tracer.errors import TcptraceError
from tracer.kernel.btf import Btf, Member
from tracer.kernel.fields import FIELDS
from tracer.kernel.filters import Filters
from tracer.kernel.layout import parse_layout
from tracer.kernel.programs import FIRST_PID_NAMESPACE, HEADERS, ITERATORS, TRACEPOINTS, ProgramText, program_text
from tracer.kernel.settings import Reads, Settings
from tracer.kernel.shipped import read_source

SETTINGS = Settings(Filters())
EVERYTHING = Settings(Filters(), follow=True, segments=True)
NETNS = 4026531833


class SomeKernel(Btf):
    """A kernel whose types are chosen: everything is there, in its newest form, except for what is named as lacking."""

    def __init__(self, *lacking: str, old: bool = False) -> None:
        self._lacking = set(lacking)
        self._old = old

    def member(self, type_name: str, path: str) -> Member | None:
        return None if f"{type_name}.{path}" in self._lacking else Member(16, 4)

    def tracepoint_arguments(self, name: str) -> int | None:
        return None if name in self._lacking else 2 if self._old else 3

    def function(self, name: str) -> int:
        return 7 if (not self._old or name == "bpf_ringbuf_reserve") and name not in self._lacking else 0

    def structure(self, name: str) -> int:
        return 0 if name in self._lacking else 8

    def has_name(self, name: str) -> bool:
        return not self._old and name not in self._lacking


def constant(program: ProgramText, macro: str) -> int | None:
    """Return the number that a macro has in it once the program is loaded."""
    found = re.search(rf"^#define {macro}\b.*CONSTANT\((\d+)\)", whole(program), flags=re.MULTILINE)
    return program.constants[int(found[1])] if found else None


def whole(program: ProgramText) -> str:
    """Return the text of all programs, what they have in common once."""
    return program.head + program.typed + program.others


def definitions(text: str) -> dict[str, str]:
    return dict(re.findall(r"^#define (\w+) (\S+)$", text, flags=re.MULTILINE))


def test_a_kernel_that_has_everything_gets_every_program_and_misses_nothing() -> None:
    program = program_text(SomeKernel(), EVERYTHING, NETNS, 4)
    assert program.tracepoints == TRACEPOINTS
    assert program.missing == ()


def test_what_nobody_asked_for_is_neither_compiled_nor_missed() -> None:
    program = program_text(SomeKernel("sock_send_length", "tcp_probe"), SETTINGS, NETNS, 4)
    assert program.missing == ()
    assert {point.only_for for point in program.tracepoints} == {None}
    assert definitions(whole(program))["EMIT_FOLLOW"] == "0"
    assert "bpf/call.c" not in whole(program)
    assert "bpf/segment.c" not in whole(program)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (replace(SETTINGS, follow=True), {"sock_send_length", "sock_recv_length"}),
        (replace(SETTINGS, segments=True), {"tcp_probe"}),
    ],
    ids=["follow", "segments"],
)
def test_what_was_asked_for_is_attached(settings: Settings, names: set[str]) -> None:
    program = program_text(SomeKernel(), settings, NETNS, 4)
    assert {point.name for point in program.tracepoints if point.only_for} == names


def test_to_follow_takes_every_change_of_state() -> None:
    macros = definitions(whole(program_text(SomeKernel(), Settings(Filters(), follow=True), NETNS, 4)))
    assert (macros["EMIT_FOLLOW"], macros["EMIT_STATES"]) == ("1", "1")


def test_what_two_missing_tracepoints_would_have_shown_is_named_once() -> None:
    program = program_text(SomeKernel("sock_send_length", "sock_recv_length"), EVERYTHING, NETNS, 4)
    assert program.missing == ("what send() and recv() returned",)


def test_a_missing_optional_column_is_named() -> None:
    program = program_text(SomeKernel("tcp_sock.rtt_min.s.v"), SETTINGS, NETNS, 4)
    assert program.missing == ("the minimum round-trip time",)
    assert definitions(whole(program))["OFFSET_tcp_sock__rtt_min__s__v"] == "-1"


def test_a_missing_tracepoint_is_named_and_not_attached() -> None:
    program = program_text(SomeKernel("tcp_send_reset"), SETTINGS, NETNS, 4)
    assert program.missing == ("resets sent",)
    assert "tcp_send_reset" not in {point.name for point in program.tracepoints}
    assert definitions(whole(program))["HAVE_tcp_send_reset"] == "0"


@pytest.mark.parametrize(
    ("lacks", "says"),
    [("inet_sock_set_state", "no tracepoint sock:inet_sock_set_state"), ("bpf_ringbuf_reserve", "no BPF ring buffers")],
)
def test_a_kernel_without_what_all_needs_is_refused(lacks: str, says: str) -> None:
    with pytest.raises(TcptraceError, match=says):
        program_text(SomeKernel(lacks), SETTINGS, NETNS, 4)


@pytest.mark.parametrize(("old", "has"), [(True, "0"), (False, "1")])
def test_an_argument_that_only_newer_kernels_pass_is_switched_by_what_the_kernel_says(old: bool, has: str) -> None:
    macros = definitions(whole(program_text(SomeKernel(old=old), SETTINGS, NETNS, 4)))
    assert macros["HAVE_tcp_send_reset_reason"] == has
    assert macros["HAVE_tcp_retransmit_skb_err"] == has
    assert macros["HAVE_tcp_send_reset"] == "1"


def test_what_older_kernels_do_not_pass_is_named() -> None:
    missing = program_text(SomeKernel(old=True), SETTINGS, NETNS, 4).missing
    assert missing == ("retransmissions that failed to leave", "why resets were sent", "resets for closed ports")


def test_a_program_is_compiled_only_where_its_tracepoint_exists() -> None:
    for point in TRACEPOINTS[1:]:
        assert f"#if HAVE_{point.name}\nPROGRAM({point.name})" in read_source(point.file)


def test_an_argument_of_a_missing_tracepoint_is_missing_too() -> None:
    assert (
        definitions(whole(program_text(SomeKernel("tcp_send_reset"), SETTINGS, NETNS, 4)))["HAVE_tcp_send_reset_reason"] == "0"
    )


@pytest.mark.parametrize(("old", "flags"), [(True, "0"), (False, "1")])
def test_table_entries_are_allocated_on_demand_only_where_that_is_safe(old: bool, flags: str) -> None:
    assert definitions(whole(program_text(SomeKernel(old=old), SETTINGS, NETNS, 4)))["ON_DEMAND"] == flags


def test_a_cgroup_is_refused_where_the_kernel_does_not_tell_that_of_a_socket(tmp_path: Path) -> None:
    asked = Settings(replace(Filters(), own_netns=True))
    object.__setattr__(asked.filters, "cgroup", str(tmp_path))
    with pytest.raises(TcptraceError, match="does not tell the cgroup"):
        program_text(SomeKernel("sock.sk_cgrp_data.cgroup"), asked, NETNS, 4)


@pytest.mark.parametrize(("namespace", "number"), [(FIRST_PID_NAMESPACE, None), (4026532198, 4026532198)])
def test_pids_are_translated_only_where_tcptrace_is_in_a_pid_namespace_of_its_own(namespace: int, number: int | None) -> None:
    assert constant(program_text(SomeKernel(), SETTINGS, NETNS, 4, namespace), "PID_NAMESPACE") == number


def test_settings_reach_the_program() -> None:
    settings = Settings(Filters(ports=(443,)), ring_bytes=1 << 20, max_connections=23, states=True)
    program = program_text(SomeKernel(), settings, NETNS, 6)
    assert definitions(whole(program))["EMIT_STATES"] == "1"
    assert constant(program, "OWN_NETNS") == NETNS
    assert constant(program, "FILTER_PORT") == 443
    assert {name: program.entries[name] for name in ("events", "conns", "counters")} == {
        "events": 1 << 20,
        "conns": 23,
        "counters": 12,
    }


def test_what_differs_from_run_to_run_is_not_compiled() -> None:
    some, other = Settings(Filters(ports=(443,))), Settings(Filters(ports=(80,)), ring_bytes=1 << 20, max_connections=23)
    assert whole(program_text(SomeKernel(), some, NETNS, 4)) == whole(program_text(SomeKernel(), other, NETNS + 1, 6))


def test_the_length_of_a_tick_which_types_do_not_tell_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = []
    for seconds in (0.001, 0.004):
        monkeypatch.setattr("time.clock_getres", lambda _, seconds=seconds: seconds)
        programs.append(program_text(SomeKernel(), Settings(Filters()), NETNS, 4))
    assert whole(programs[0]) == whole(programs[1])
    assert [constant(program, "TICK_US") for program in programs] == [1000, 4000]
    assert [constant(program, "TICK_MS") for program in programs] == [1, 4]


def test_whose_process_a_connection_is_costs_nothing_where_nobody_asks_and_is_not_compiled_anew() -> None:
    asked, unasked = (program_text(SomeKernel(), Settings(Filters(), owners=owners), NETNS, 4) for owners in (True, False))
    assert whole(asked) == whole(unasked)
    assert [constant(program, "WITH_OWNERS") for program in (asked, unasked)] == [1, 0]
    forks = {"sched_process_fork", "sched_process_exit"}
    assert {point.name for point in asked.tracepoints} - {point.name for point in unasked.tracepoints} == forks


def test_a_message_of_the_compiler_names_the_file_and_line_that_people_can_open() -> None:
    lines = whole(program_text(SomeKernel(), EVERYTHING, NETNS, 4)).splitlines()
    files = {*HEADERS, *(point.file for point in TRACEPOINTS), *ITERATORS}
    marks = {line: number for number, line in enumerate(lines) if line.startswith("#line")}
    assert set(marks) == {f'#line 1 "bpf/{name}"' for name in files}
    for name in files:
        first = marks[f'#line 1 "bpf/{name}"'] + 1
        source = read_source(name).splitlines()
        assert lines[first : first + len(source)] == source


def test_each_file_is_in_the_program_once_and_every_tracepoint_has_its_program() -> None:
    text = whole(program_text(SomeKernel(), EVERYTHING, NETNS, 4))
    found = re.findall(r"^PROGRAM\((\w+)\)", text, flags=re.MULTILINE)
    assert sorted(found) == sorted(point.name for point in TRACEPOINTS)
    for point in TRACEPOINTS:
        assert f"PROGRAM({point.name})" in read_source(point.file)


def test_what_reads_by_direct_loads_is_compiled_apart_from_all_else() -> None:
    program = program_text(SomeKernel(), EVERYTHING, NETNS, 4)
    (direct, others), (by_helper, same) = program.texts(Reads.TYPED), program.texts(Reads.CALLS)
    assert "PROGRAM(inet_sock_set_state)" in direct
    assert "PROGRAM(inet_sock_set_state)" not in others
    assert definitions(direct)["DIRECT"] == "1"
    assert by_helper == direct.replace("#define DIRECT 1", "#define DIRECT 0")
    assert others == same
    assert definitions(others)["DIRECT"] == "0"
    assert program.texts(Reads.CASTS) == tuple(
        text.replace("#define CASTS 0", "#define CASTS 1") for text in program.texts(Reads.TYPED)
    )


@pytest.mark.parametrize(
    ("lacking", "ways"),
    [
        ((), [Reads.CASTS, Reads.TYPED, Reads.CALLS]),
        (("bpf_rdonly_cast",), [Reads.TYPED, Reads.CALLS]),
        (("timespec64",), [Reads.TYPED, Reads.CALLS]),
        (("bpf_get_current_task_btf",), [Reads.CALLS]),
    ],
)
def test_a_kernel_without_the_functions_reads_in_a_slower_way(lacking: tuple[str, ...], ways: list[Reads]) -> None:
    kernel = SomeKernel(*lacking)
    assert list(program_text(kernel, SETTINGS, NETNS, 4).ways_to_read(kernel)) == ways


def test_the_compiler_checks_the_layout_that_python_read() -> None:
    assert parse_layout(read_source("event.h")).assertions() in whole(program_text(SomeKernel(), SETTINGS, NETNS, 4))


def test_the_offsets_come_before_the_files_that_use_them() -> None:
    text = whole(program_text(SomeKernel(), SETTINGS, NETNS, 4))
    assert max(text.index(f"#define OFFSET_{field.macro} ") for field in FIELDS) < text.index("#line 1")


@pytest.mark.parametrize("part", [part for part, replaced in PARTS.items() if replaced])
def test_what_the_bench_takes_out_is_in_the_programs(part: str) -> None:
    program = program_text(SomeKernel(), SETTINGS, NETNS, 4)
    assert whole(without(program, part)) != whole(program)
