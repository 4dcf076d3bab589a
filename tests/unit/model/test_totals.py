from __future__ import annotations

import errno
from typing import Any

import numpy as np
import pytest

from tests.unit.model.builder import CONTEXT, SECOND, events, reading, report_of
from tracer.model.report import Report, named, services
from tracer.model.tcp import CLOSE_REASONS, FAILURE_REASONS, KINDS, RETRANSMIT_KINDS, STATE
from tracer.model.totals import Model


def row(report: Report, *labels: str) -> int:
    return report.series.labels.index(labels)


def only(values: Any) -> int:
    """The one number that belongs to the one series of a report (beside `other`, which has to be empty)."""
    assert len(values) == 2
    assert values[0] == 0
    return int(values[1])


def test_handshakes_are_counted_and_timed_by_role_and_port() -> None:
    report = report_of(events("handshake", 23, port=443, handshake_ns=33_000), events("handshake", 5, role="server", port=80))
    assert report.series.handshakes[row(report, "client", "443")] == 23
    assert report.series.handshakes[row(report, "server", "80")] == 5
    assert report.series.handshake_times.totals[row(report, "client", "443")] == 23
    assert report.series.handshake_times.sums[row(report, "client", "443")] == pytest.approx(23 * 33e-6)


def test_a_handshake_of_unknown_time_counts_but_is_in_no_histogram() -> None:
    report = report_of(events("handshake", 3, flags=("handshake_unknown",)))
    assert only(report.series.handshakes) == 3
    assert only(report.series.handshake_times.totals) == 0


def test_failures_and_closes_are_counted_by_reason() -> None:
    report = report_of(
        events("close", 7, from_state="fin_wait2"),
        events("close", 3, from_state="established"),
        events("failure", 5, from_state="syn_sent", error=errno.ECONNREFUSED),
        events("failure", 2, from_state="syn_sent", flags=("no_syn", "no_port")),
    )
    assert named(FAILURE_REASONS, report.series.failures[1]) == {"refused": 5, "no_port": 2}
    assert named(CLOSE_REASONS, report.series.closes[1]) == {"normal": 7, "reset_sent": 3}


def test_open_connections_are_handshakes_without_their_closes() -> None:
    report = report_of(events("handshake", 23), events("close", 5))
    assert only(report.series.connections) == 18


def test_a_close_of_a_connection_older_than_the_tracing_takes_nothing_from_the_open_ones() -> None:
    report = report_of(events("handshake", 2), events("close", 5, flags=("partial",)))
    assert only(report.series.connections) == 2
    assert only(report.series.partial) == 5


def test_connections_older_than_the_tracing_stay_out_of_durations_but_not_out_of_closes_and_bytes() -> None:
    old = events("close", 3, flags=("partial",), duration_ns=5, sent_bytes=100, state_ns={"established": 5}, srtt_us=20)
    report = report_of(old)
    assert only(report.series.closes.sum(axis=1)) == 3
    assert only(report.series.sent_bytes) == 300
    assert only(report.series.srtt.totals) == 3
    assert only(report.series.connection_times.totals) == 0
    assert report.state_times.totals.sum() == 0


def test_a_connection_that_was_never_measured_has_no_round_trip_time() -> None:
    assert only(report_of(events("close", 3, srtt_us=0)).series.srtt.totals) == 0


def test_payload_of_closed_connections_is_summed_exactly() -> None:
    batch = events("close", 2)
    batch["sent_bytes"], batch["received_bytes"] = [2**53 + 1, 1], [1000, 23]
    report = report_of(batch)
    assert only(report.series.sent_bytes) == 2**53 + 2
    assert only(report.series.received_bytes) == 1023


def test_time_in_a_state_is_kept_for_the_states_that_were_visited() -> None:
    states = {"syn_sent": 30_000, "established": 5_000_000, "fin_wait1": 0}
    report = report_of(events("close", 7, state_ns=states), events("failure", 2, state_ns={"syn_sent": 50_000}))
    totals = report.state_times.totals
    assert {state: totals[STATE[state]] for state in states} == {"syn_sent": 9, "established": 7, "fin_wait1": 7}
    assert totals.sum() == 23
    assert report.state_times.sums[STATE["syn_sent"]] == pytest.approx(7 * 30e-6 + 2 * 50e-6)


def test_retransmissions_are_counted_in_segments_by_kind_and_failed_ones_apart() -> None:
    report = report_of(
        events("retransmit", 5, retransmit_kind="fast", segments=3),
        events("retransmit", 2, retransmit_kind="syn", segments=1),
        events("retransmit", 7, retransmit_kind="timeout", segments=1, flags=("failed",), error=-errno.ENOBUFS),
    )
    assert named(RETRANSMIT_KINDS, report.series.retransmitted[1]) == {"fast": 15, "syn": 2}
    assert only(report.series.failed_retransmits) == 7


def test_resets_are_counted_by_direction_and_by_the_kernels_reason_when_sent() -> None:
    report = report_of(
        events("reset", 5, flags=("reset_sent", "reset_reason"), reset_reason=9),
        events("reset", 2, flags=("reset_sent",), reset_reason=9),
        events("reset", 3, flags=("reset_received",)),
    )
    assert report.series.resets_sent[1, [0, 9]].tolist() == [2, 5]
    assert only(report.series.resets_received) == 3


def test_a_reset_reason_from_a_newer_kernel_does_no_harm() -> None:
    report = report_of(events("reset", flags=("reset_sent", "reset_reason"), reset_reason=2**32 - 1))
    assert report.series.resets_sent[1].sum() == 1


def test_records_are_counted_by_kind_and_state_changes_open_no_series() -> None:
    report = report_of(np.concatenate([events("state", 23, port=9), events("handshake", 2)]))
    assert report.events[KINDS.index("state")] == 23
    assert report.series.labels == (("other", "other"), ("client", "443"))


def test_records_of_all_kinds_in_one_batch_go_to_their_own_rows() -> None:
    kinds = ("handshake", "failure", "close", "retransmit", "reset")
    batch = np.concatenate([events(kind, port=port, segments=1) for kind in kinds for port in (1, 2, 3)])
    report = report_of(np.random.default_rng(23).permutation(batch))
    assert [(s.port, s.handshakes, s.failed, s.closed) for s in services(report)] == [(p, 1, 1, 1) for p in ("1", "2", "3")]


def test_exact_counters_and_what_the_source_knows_are_those_of_the_last_reading() -> None:
    model = Model(CONTEXT, start_ns=0)
    model.add(reading(cells={"events_lost": 1}, sockets={"time_wait": 5}))
    model.add(
        reading(
            cells={"events_lost": 3, "untracked": 2, "partial": 7}, transitions={("close", "syn_sent"): 23}, time_ns=5 * SECOND
        )
    )
    report = model.report()
    assert (report.events_lost, report.untracked, report.partial) == (3, 2, 7)
    assert report.transitions is not None
    assert report.transitions[STATE["close"], STATE["syn_sent"]] == report.transitions.sum() == 23
    assert report.sockets == {"time_wait": 5}
    assert report.duration_seconds == 5


def test_before_the_first_reading_nothing_is_known() -> None:
    report = Model(CONTEXT).report()
    assert (report.transitions, report.sockets, report.events_lost, report.untracked, report.partial) == (None,) * 5
    assert report.duration_seconds == 0


def test_a_report_does_not_change_when_the_model_does() -> None:
    model = Model(CONTEXT)
    model.add(reading(events("handshake", 2)))
    report = model.report()
    model.add(reading(events("handshake", 5), events("close", port=80)))
    assert only(report.series.handshakes) == 2
    assert len(report.series.labels) == 2
    assert report.events.sum() == 2


def test_a_report_cannot_be_changed() -> None:
    report = report_of(events("handshake"))
    for array in (report.series.handshakes, report.series.sent_bytes, report.series.connections, report.events):
        assert not array.flags.writeable
    assert report.transitions is not None
    assert not report.transitions.flags.writeable


def test_the_model_grows_to_many_label_sets_without_mixing_them_up() -> None:
    batch = events("handshake", 500)
    batch["remote_port"] = np.arange(1000, 1500)
    batch["handshake_ns"] = np.arange(1000, 1500) * 1000
    report = report_of(batch[:3], batch[3:])
    assert report.series.handshakes[1:].tolist() == [1] * 500
    assert all(
        report.series.handshake_times.maxima[i] == int(labels[1]) * 1000 for i, labels in enumerate(report.series.labels) if i
    )


def test_a_connection_of_which_a_change_of_state_was_missed_is_in_no_time_of_a_state() -> None:
    times = {"syn_sent": 30_000, "established": 7_000}
    report = report_of(events("close", 3, state_ns=times, flags=("gap",)), events("close", 5, state_ns=times))
    assert report.state_times.totals[STATE["established"]] == 5
    assert report.series.closes.sum() == 8
