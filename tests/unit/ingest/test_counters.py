from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tracer.ingest.counters import EVENTS_LOST, EVENTS_REFUSED, Counters, Misses, Programs, Refused, parse_program
from tracer.ingest.decode import LAYOUT
from tracer.ingest.source import Program

# Linux 6.18
NEWEST = b"""pos:\t0
flags:\t02000002
mnt_id:\t16
ino:\t1059
prog_type:\t17
prog_jited:\t1
prog_tag:\t3a2bd5c8c7f2ecb7
memlock:\t8192
prog_id:\t23
run_time_ns:\t1500000000
run_cnt:\t46
recursion_misses:\t5
verified_insns:\t1187
map_ids:\t3 4 5
"""
# Linux 5.8: no recursion_misses, and none of what stands behind it
OLDER = b"""pos:\t0
flags:\t02000002
mnt_id:\t14
prog_type:\t17
prog_jited:\t1
prog_tag:\t3a2bd5c8c7f2ecb7
memlock:\t8192
prog_id:\t23
run_time_ns:\t23
run_cnt:\t1
"""


def test_all_three_figures_are_read() -> None:
    assert parse_program("inet_sock_set_state", NEWEST) == Program("inet_sock_set_state", True, 46, 1.5, 5)


def test_an_older_kernel_has_no_misses() -> None:
    assert parse_program("tcp_send_reset", OLDER) == Program("tcp_send_reset", True, 1, 23e-9, 0)


def test_without_statistics_the_figures_are_zero() -> None:
    text = NEWEST.replace(b"1500000000", b"0").replace(b"\t46", b"\t0")
    assert parse_program("a", text) == Program("a", True, 0, 0.0, 5)


@pytest.mark.parametrize("text", [b"", b"pos:\t0\nflags:\t02\n", b"xrun_cnt:\t5\n", b"run_cnt:\tmany\n", b"run_cnt_max:\t5\n"])
def test_what_is_not_there_is_zero(text: bytes) -> None:
    assert parse_program("a", text) == Program("a", True, 0, 0.0, 0)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_the_largest_numbers_are_exact(runs: int, misses: int) -> None:
    program = parse_program("a", b"run_cnt:\t%d\nrecursion_misses:\t%d\n" % (runs, misses))
    assert (program.runs, program.misses) == (runs, misses)


def mapped(rows: np.ndarray[tuple[int, int], np.dtype[np.uint64]]) -> Counters:
    """Return Counters over a file with these rows, one a CPU, padded to pages as the kernel does."""
    with tempfile.TemporaryFile() as file:
        file.write(rows.tobytes().ljust(-(-rows.nbytes // 4096) * 4096, b"\0"))
        file.flush()
        return Counters(file.fileno(), *rows.shape)


def test_cells_are_summed_over_the_cpus() -> None:
    rows = np.arange(3 * 320, dtype=np.uint64).reshape(3, 320)
    counters = mapped(rows)
    assert counters.read().tolist() == rows.sum(axis=0).tolist()
    assert counters.read().dtype == np.uint64
    counters.close()


def test_sums_beyond_what_a_double_holds_are_exact() -> None:
    rows = np.array([[2**53 + 1, 2**63], [1, 5]], np.uint64)
    counters = mapped(rows)
    assert counters.read().tolist() == [2**53 + 2, 2**63 + 5]
    counters.close()


def test_what_was_read_stays_when_the_map_counts_on_or_goes(tmp_path: Path) -> None:
    path = tmp_path / "map"
    np.full(512, 23, np.uint64).tofile(path)
    with path.open("r+b") as file:
        counters = Counters(file.fileno(), 1, 512)
        before = counters.read()
        file.write(bytes(8))
        file.flush()
        assert counters.read()[0] == 0
        counters.close()
    assert before.tolist() == [23] * 512


def test_programs_read_their_descriptors_and_close_them_all_once(tmp_path: Path) -> None:
    pairs = {}
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(b"")
        pairs[name] = (os.open(tmp_path / name, os.O_RDONLY), os.open(tmp_path / name, os.O_RDONLY))
    programs = Programs(dict(pairs))
    # no BPF programs, so that their fdinfo has no figures
    assert programs.read() == (Program("one", True, 0, 0.0, 0), Program("two", True, 0, 0.0, 0))
    programs.close()
    for fd in (fd for pair in pairs.values() for fd in pair):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
    programs.close()


def misses(*looks: tuple[int, int]) -> list[int]:
    """Return what is said at each look, at which so many runs were skipped and compensated."""
    found, cells = Misses(), np.zeros(LAYOUT.enums["counter"]["COUNTER_CELLS"], np.uint64)
    said = []
    for skipped, rescued in looks:
        cells[LAYOUT.enums["counter"]["COUNTER_RESCUED"]] = rescued
        (program,) = found.without_rescued((Program("inet_sock_set_state", True, 0, 0.0, skipped),), cells)
        said.append(program.misses)
    return said


def test_a_miss_that_was_made_good_is_none() -> None:
    assert misses((5, 5), (7, 7)) == [0, 0]


def test_a_miss_that_stays_is_one_from_the_second_look_on() -> None:
    assert misses((5, 3), (5, 3), (7, 5)) == [0, 2, 2]


def test_misses_never_fall_whatever_is_made_good_while_they_are_read() -> None:
    assert misses((2, 0), (2, 0), (3, 2), (4, 2), (4, 2)) == [0, 2, 2, 2, 2]


def test_a_run_made_good_before_its_miss_was_read_is_no_negative_miss() -> None:
    assert misses((5, 9), (9, 9)) == [0, 0]


def test_a_miss_that_is_being_made_good_is_none() -> None:
    assert misses((1, 0), (1, 1), (2, 2)) == [0, 0, 0]


def test_the_misses_of_the_other_programs_are_as_the_kernel_says() -> None:
    cells = np.full(LAYOUT.enums["counter"]["COUNTER_CELLS"], 9, np.uint64)
    (program,) = Misses().without_rescued((Program("tcp_send_reset", True, 0, 0.0, 5),), cells)
    assert program.misses == 5


def test_a_record_lost_while_the_ring_had_room_was_refused() -> None:
    refused = Refused()
    told = []
    for lost, was_full in ((0, False), (2, False), (5, True), (6, False)):
        cells = np.zeros(LAYOUT.enums["counter"]["COUNTER_CELLS"], np.uint64)
        cells[EVENTS_LOST] = lost
        told.append(int(refused.add(cells, was_full=was_full)[EVENTS_REFUSED]))
    assert told == [0, 2, 2, 3]


def test_a_program_that_was_lost_or_that_the_kernel_lacks_is_not_attached(tmp_path: Path) -> None:
    (tmp_path / "any").write_bytes(b"")
    pairs = {name: (os.open(tmp_path / "any", os.O_RDONLY), os.open(tmp_path / "any", os.O_RDONLY)) for name in ("one", "two")}
    programs = Programs(pairs, absent=("three",))
    assert [(program.name, program.attached) for program in programs.read()] == [("one", True), ("two", True), ("three", False)]
    os.close(pairs["two"][1])
    assert [program.attached for program in programs.read()] == [True, False, False]
    os.dup2(pairs["one"][0], pairs["two"][1])
    programs.close()
