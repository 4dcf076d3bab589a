"""The audit: drift where both sides count, and the kernel's count alone of what no tracepoint shows."""

from __future__ import annotations

import numpy as np

from tracer.ingest.kernelcounters import KernelCounts
from tracer.model.audit import AUDITED, FAILED, UNSEEN, Audit, AuditLine
from tracer.model.tcp import CELL

CELLS = np.zeros(CELL["cells"], np.uint64)


def at(**counts: int) -> KernelCounts:
    """Return both looks of one moment in which these counters were not 0."""
    every = {name: counts.get(name, 0) for name in (*AUDITED, *UNSEEN, FAILED)}
    return KernelCounts(every, every)


def test_what_only_the_kernel_counts_has_no_drift() -> None:
    audit = Audit()
    audit.add(at(ListenDrops=100, AttemptFails=7), CELLS)
    audit.add(at(ListenDrops=123, AttemptFails=7), CELLS)
    lines = {line.counter: line for line in audit.lines}
    assert lines["ListenDrops"] == AuditLine("ListenDrops", 23, None)
    assert lines["AttemptFails"] == AuditLine("AttemptFails", 0, None)
    assert {line.drift for name, line in lines.items() if name in UNSEEN} == {None}
    assert {line.drift for name, line in lines.items() if name in AUDITED} == {0}


def test_a_counter_that_this_kernel_lacks_has_no_line() -> None:
    audit = Audit()
    few = dict.fromkeys(AUDITED, 0)
    audit.add(KernelCounts(few, few), CELLS)
    assert [line.counter for line in audit.lines] == list(AUDITED)


def test_a_counter_that_only_some_looks_have_has_no_line() -> None:
    audit = Audit()
    audit.add(at(), CELLS)
    audit.add(KernelCounts({"ActiveOpens": 1}, {"ActiveOpens": 1, "RetransSegs": 7}), CELLS)
    assert [line.counter for line in audit.lines] == ["ActiveOpens"]


def test_drift_is_what_we_counted_beyond_the_kernel() -> None:
    audit, cells = Audit(), CELLS.copy()
    audit.add(at(), cells)
    cells[CELL["passive_opens"]] = 20
    audit.add(at(PassiveOpens=23), cells)
    assert {line.counter: line.drift for line in audit.lines if line.drift} == {"PassiveOpens": -3}


def test_retransmissions_that_failed_to_leave_are_taken_from_the_kernel_where_no_tracepoint_fires_for_them() -> None:
    for unseen, drift in ((True, 0), (False, -3)):
        audit, cells = Audit(failures_unseen=unseen), CELLS.copy()
        audit.add(at(TCPRetransFail=100), cells)
        cells[CELL["retrans_segs"]] = 20
        audit.add(at(RetransSegs=23, TCPRetransFail=103), cells)
        assert next(line for line in audit.lines if line.counter == "RetransSegs").drift == drift


def active_opens(*looks: tuple[int, int, int, int]) -> list[tuple[int, int | None]]:
    """Return kernel's count and ours at each look: entered SYN_SENT, left it after a SYN, left it without; the kernel's."""
    return active_opens_since((0, 0, 0, 0), *looks)


def active_opens_since(*looks: tuple[int, int, int, int]) -> list[tuple[int, int | None]]:
    """Return the same, of looks of which the first is the beginning."""
    audit, cells, said = Audit(), CELLS.copy(), []
    for entered, left, none, kernel in looks:
        cells[CELL["syn_sent"]], cells[CELL["syn_left"]], cells[CELL["no_syn"]] = entered, left, none
        audit.add(at(ActiveOpens=kernel), cells)
        said += [(line.kernel, line.traced) for line in audit.lines if line.counter == "ActiveOpens"]
    return said[1:]


def test_an_attempt_without_a_port_raises_nothing_and_so_nothing_falls() -> None:
    assert active_opens((5, 5, 0, 5), (6, 5, 0, 5), (6, 5, 1, 5)) == [(5, 5), (5, 5), (5, 5)]


def test_an_attempt_under_way_counts_when_the_kernel_has_counted_its_syn() -> None:
    assert active_opens((6, 5, 0, 6), (7, 5, 0, 6), (7, 6, 0, 7)) == [(6, 6), (6, 6), (7, 7)]


def test_an_attempt_that_was_missed_shows_and_one_too_many_too() -> None:
    assert active_opens((5, 5, 0, 7)) == [(7, 5)]
    assert active_opens((5, 5, 0, 4)) == [(4, 5)]


def test_an_attempt_from_before_that_ends_now_is_not_counted() -> None:
    assert active_opens((0, 1, 0, 0), (5, 6, 0, 5)) == [(0, 0), (5, 5)]


def test_an_attempt_under_way_at_the_first_look_may_have_its_syn_counted_before_it_or_after() -> None:
    """Two are under way at the first look: one is given up without a SYN, the other one has sent it, or sends it later."""
    assert active_opens_since((2, 0, 0, 0), (2, 0, 0, 0), (3, 2, 1, 2)) == [(0, 0), (2, 2)]
    assert active_opens_since((2, 0, 0, 1), (2, 0, 0, 1), (3, 2, 1, 2)) == [(0, 0), (1, 1)]


def test_an_attempt_from_before_that_ended_before_the_first_look_takes_nothing_off() -> None:
    assert active_opens_since((0, 1, 0, 0), (5, 6, 0, 5)) == [(5, 5)]
