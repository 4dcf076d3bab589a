"""How far our programs are from what the verifier allows: a million instructions looked at, for each."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from tests.needs import SYSCALL_BPF, skip_for_lack_of
from tracer.kernel.btf import Btf
from tracer.kernel.filters import Filters
from tracer.kernel.handoff import Loaded
from tracer.kernel.launch import load_programs
from tracer.kernel.programs import TRACEPOINTS, program_text, wanted_tracepoints
from tracer.kernel.settings import Settings
from tracer.kernel.sizes import MANY_CONNECTIONS

pytestmark = pytest.mark.kernel

BPF_OBJ_GET_INFO_BY_FD = 15
INFO_BYTES = 256
VERIFIED_AT = 216
"""Of verified_insns in struct bpf_prog_info (include/uapi/linux/bpf.h), which Linux 5.16 brought."""

BOUND = 300_000
"""A third of what the kernel allows, and a little above what the strictest one counted: 282,723 on Linux 6.1."""


def verified_instructions(fd: int) -> int | None:
    """Return how many instructions the verifier looked at for a program; None where the kernel does not tell."""
    info = ctypes.create_string_buffer(INFO_BYTES)
    attributes = ctypes.create_string_buffer(struct.pack("=IIQ", fd, INFO_BYTES, ctypes.addressof(info)), 16)
    libc = ctypes.CDLL(None, use_errno=True)
    number = SYSCALL_BPF[os.uname().machine]
    assert libc.syscall(number, BPF_OBJ_GET_INFO_BY_FD, attributes, len(attributes)) == 0, os.strerror(ctypes.get_errno())
    written = struct.unpack_from("=I", attributes, 4)[0]
    return struct.unpack_from("=I", info, VERIFIED_AT)[0] if written >= VERIFIED_AT + 4 else None


ALL = Settings(Filters(), follow=True, segments=True, max_connections=MANY_CONNECTIONS)
"""For all programs; with as many connections as have slots, however little memory there is."""

RUN = replace(ALL, follow=False, segments=False, owners=False, counts=True)
"""For `run`, where whatever is asked for no record has a shorter way of its own."""


@pytest.fixture(name="settings", params=[ALL, RUN], ids=["all", "run"], scope="module")
def fixture_settings(request: pytest.FixtureRequest) -> Settings:
    """Return what programs are loaded with."""
    assert isinstance(request.param, Settings)
    return request.param


@pytest.fixture(name="loaded", scope="module")
def fixture_loaded(settings: Settings) -> Iterator[Loaded]:
    """Load the programs."""
    loaded = load_programs(settings)
    yield loaded
    for fd in (loaded.ring, loaded.counters, *loaded.held, *(fd for pair in loaded.programs.values() for fd in pair)):
        os.close(fd)


@pytest.fixture(name="figures")
def fixture_figures(loaded: Loaded) -> dict[str, int | None]:
    """Return how many instructions the verifier looked at for each program, None where it does not tell."""
    return {name: verified_instructions(pair[0]) for name, pair in loaded.programs.items()}


def test_every_program_of_every_command_loads(figures: dict[str, int | None], settings: Settings) -> None:
    with closing(Btf()) as btf:
        there = {point.name for point in TRACEPOINTS if btf.tracepoint_arguments(point.name) is not None}
    wanted = {point.name for point in wanted_tracepoints(settings)} if settings is RUN else there
    assert figures.keys() == there & wanted


def test_memory_is_read_in_the_fastest_way_for_which_the_kernel_has_functions(loaded: Loaded, settings: Settings) -> None:
    with closing(Btf()) as btf:
        assert loaded.reads == program_text(btf, settings, loaded.own_netns, loaded.cpus).ways_to_read(btf)[0]


def test_every_program_leaves_the_verifier_head_room(
    figures: dict[str, int | None], record_testsuite_property: Callable[[str, object], None]
) -> None:
    if None in figures.values():
        skip_for_lack_of("bpf_prog_info.verified_insns")
    for name, count in figures.items():
        record_testsuite_property(name, count)
    assert {name: count for name, count in figures.items() if count is None or count > BOUND} == {}
