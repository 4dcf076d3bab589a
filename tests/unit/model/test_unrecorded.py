from __future__ import annotations

from tests.unit.model.builder import CONTEXT, events, reading
from tracer.model.report import Report, named, services
from tracer.model.summaryjson import summary_document
from tracer.model.tcp import CELL, CLOSE_REASONS, FAILURE_REASONS, RETRANSMIT_KINDS, ROLE
from tracer.model.totals import Model
from tracer.model.unrecorded import WHAT


def report_of(*counts: dict[tuple[str, str], int]) -> Report:
    """Return the report after readings with these counts by what and role; a kind of retransmission is a what, too."""
    model = Model(CONTEXT, start_ns=0)
    for now in counts:
        given = reading(events("handshake", 7))
        for (what, role), count in now.items():
            number = WHAT[what] if what in WHAT else WHAT["retransmitted"] + RETRANSMIT_KINDS.index(what)
            given.cells[CELL["unrecorded"] + number * 3 + ROLE[role]] = count
        model.add(given)
    return model.report()


def test_what_has_no_record_is_added_to_the_role_with_port_other() -> None:
    report = report_of({("handshake", "client"): 5, ("failure", "client"): 2, ("close", "server"): 3})
    found = {(s.role, s.port): (s.handshakes, dict(s.failures), dict(s.closes)) for s in services(report)}
    assert found == {
        ("client", "443"): (7, {}, {}),
        ("client", "other"): (5, {"other": 2}, {}),
        ("server", "other"): (0, {}, {"other": 3}),
    }


def test_it_is_counted_once_and_grows() -> None:
    report = report_of({("handshake", "client"): 5}, {("handshake", "client"): 5}, {("handshake", "client"): 23})
    assert report.series.handshakes.sum() == 3 * 7 + 23


def test_segments_keep_their_kind_and_resets_their_direction() -> None:
    report = report_of(
        {("fast", "client"): 5, ("fin", "client"): 2, ("reset_sent", "client"): 3, ("reset_received", "client"): 11}
    )
    row = report.series.labels.index(("client", "other"))
    assert named(RETRANSMIT_KINDS, report.series.retransmitted[row]) == {"fast": 5, "fin": 2}
    assert report.series.resets_sent[row, 0] == 3
    assert report.series.resets_received[row] == 11
    assert not report.series.failures[row].any()
    assert not report.series.closes[row].any()


def test_a_retransmission_that_never_left_is_no_segment() -> None:
    report = report_of({("retransmit_failed", "server"): 5})
    assert report.series.failed_retransmits.sum() == 5
    assert report.series.retransmitted.sum() == 0


def test_the_summary_shows_them() -> None:
    found = summary_document(report_of({("handshake", "client"): 5}))["handshakes"]
    assert [(row["role"], row["port"], row["count"]) for row in found] == [("client", 443, 7), ("client", "other", 5)]
    assert found[1]["p50_seconds"] is None


def test_the_reasons_that_are_not_known_are_other() -> None:
    report = report_of({("failure", "client"): 2, ("close", "client"): 3})
    assert report.series.failures[:, FAILURE_REASONS.index("other")].sum() == 2
    assert report.series.closes[:, CLOSE_REASONS.index("other")].sum() == 3
