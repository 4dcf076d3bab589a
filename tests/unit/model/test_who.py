from __future__ import annotations

from tests.unit.model.builder import events, report_of
from tracer.ingest.decode import Events
from tracer.model.who import Whose


def whose(*batches: Events) -> Whose:
    report = report_of(*batches)
    return report.who.of(report.series.labels.index(("client", "443")))


def test_the_process_and_the_peer_of_a_service_are_known() -> None:
    assert whose(events("handshake", 2, process=b"curl")) == Whose("curl", "192.0.2.1")


def test_the_latest_of_several_is_marked() -> None:
    one, other = events("handshake", process=b"curl"), events("handshake", process=b"wget", peer="2001:db8::1")
    assert whose(one, other) == Whose("wget …", "2001:db8::1 …")
    assert whose(one, other, one) == Whose("curl …", "192.0.2.1 …")


def test_what_is_not_known_is_nothing() -> None:
    assert whose(events("handshake")) == Whose("", "192.0.2.1")
    assert report_of().who.of(0) == Whose()


def test_a_label_set_that_leaves_takes_its_name_along() -> None:
    report = report_of(*(events("handshake", port=port, process=b"a") for port in range(1, 9)), max_sets=4)
    rows = [row for row, labels in enumerate(report.series.labels) if labels[1] == "other"]
    assert rows
    assert all(report.who.of(row) == Whose() for row in rows)
