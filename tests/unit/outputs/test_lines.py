from __future__ import annotations

import weakref

from tests.unit.model.builder import CONTEXT, SECOND, events, reading, report_of
from tests.unit.outputs.conftest import model_of_traffic
from tracer.model.report import Report
from tracer.model.totals import Model
from tracer.outputs.lines import SERVICES_SHOWN, interval, point, summary


def test_an_interval_is_one_line() -> None:
    model = model_of_traffic()
    before = point(model.report())
    model.add(
        reading(events("handshake", 46, handshake_ns=5_000), events("close", 2), time_ns=12 * SECOND, cells={"events_lost": 1})
    )
    assert interval(point(model.report()), before) == [
        "handshakes=46 rate=23.0/s p50=5.17µs p99=5.17µs failures=0 closes=2 retransmitted=0 open=104 lost=1 untracked=0"
    ]


def test_the_first_interval_counts_from_the_start(report: Report) -> None:
    assert interval(point(report))[0].startswith("handshakes=69 rate=6.90/s")


def test_of_a_report_only_figures_are_kept() -> None:
    report = report_of(events("handshake", 23, handshake_ns=33_000))
    whole = weakref.ref(report.series)
    kept = point(report)
    del report
    assert whole() is None
    assert interval(kept)[0].startswith("handshakes=23")


def test_an_interval_before_anything_was_read_says_that_nothing_is_known() -> None:
    (line,) = interval(point(Model(CONTEXT).report()))
    assert line.startswith("handshakes=0 rate=-/s p50=- p99=-")
    assert line.endswith("lost=- untracked=-")


def test_the_summary_tells_the_run_in_a_few_lines(report: Report) -> None:
    assert summary(report) == [
        "traced for 10.0 s",
        "client 443",
        "  23 handshakes: p50 1.00 ms, p90 1.00 ms, p99 1.00 ms, max 1.00 ms",
        "  5 failures: refused 5",
        "  7 closes: normal 7",
        "  3 retransmitted segments: timeout 3",
        "server 8080",
        "  46 handshakes: p50 31.9 µs, p90 31.9 µs, p99 33.0 µs, max 33.0 µs",
        "  2 closes: reset_sent 2",
        "payload: 7.00 kB sent, 1.00 kB received",
        "state changes: syn_sent→established 23, syn_sent→close 5, close→syn_sent 28",
        "0 events lost, 0 connections untracked, 4 existing connections",
    ]


def test_the_summary_of_a_quiet_run_says_so() -> None:
    assert "no TCP connection was opened or closed" in summary(report_of())


def test_the_summary_of_a_run_that_read_nothing_does_not_claim_that_nothing_was_lost() -> None:
    assert summary(Model(CONTEXT).report())[-1] == "nothing was read"


def test_the_summary_sums_up_what_is_beyond_the_biggest_services() -> None:
    report = report_of(*(events("handshake", port=port) for port in range(1, SERVICES_SHOWN + 4)))
    assert "among the others: 3" in summary(report)


def test_retransmissions_that_never_left_are_told_apart() -> None:
    report = report_of(events("retransmit", 3, segments=2, flags=("failed",)))
    assert "6 retransmissions that never left" in summary(report)
