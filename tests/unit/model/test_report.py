from __future__ import annotations

import errno
import json
from dataclasses import replace

import numpy as np
import pytest

from tests.unit.model.builder import CONTEXT, events, reading, report_of
from tracer import __version__
from tracer.ingest.snapshot import PortUse
from tracer.model.audit import AuditLine
from tracer.model.elsewhere import Tried
from tracer.model.report import services, summed
from tracer.model.summaryjson import summary_document
from tracer.model.totals import Model


def test_the_document_has_the_keys_of_the_contract() -> None:
    assert list(summary_document(report_of())) == [
        "host",
        "kernel",
        "version",
        "duration_seconds",
        "handshakes",
        "failures",
        "closes",
        "retransmitted_segments",
        "bytes",
        "resets",
        "transitions",
        "sockets",
        "ephemeral_ports",
        "events_lost",
        "connections_untracked",
        "drift",
    ]


def test_the_document_tells_a_run_in_numbers() -> None:
    model = Model(CONTEXT, start_ns=0)
    model.add(
        reading(
            events("handshake", 23, handshake_ns=1_000_000),
            events("failure", 5, from_state="syn_sent", error=errno.ECONNREFUSED),
            events("close", 22, from_state="fin_wait2"),
            events("retransmit", 2, retransmit_kind="syn", segments=1),
            transitions={("syn_sent", "established"): 23},
            sockets={"established": 1},
        )
    )
    found = summary_document(model.report())
    assert found["handshakes"] == [
        {"role": "client", "port": 443, "count": 23, "p50_seconds": pytest.approx(0.001, rel=0.05)}
        | {"p90_seconds": pytest.approx(0.001, rel=0.05), "p99_seconds": pytest.approx(0.001, rel=0.05), "max_seconds": 0.001}
    ]
    assert found["failures"] == [{"role": "client", "port": 443, "reason": "refused", "count": 5}]
    assert found["closes"] == [{"role": "client", "port": 443, "reason": "normal", "count": 22}]
    assert found["retransmitted_segments"] == [{"role": "client", "port": 443, "kind": "syn", "count": 2}]
    assert found["transitions"] == [{"from": "syn_sent", "to": "established", "count": 23}]
    assert found["sockets"] == {"established": 1}
    assert (found["events_lost"], found["connections_untracked"]) == (0, 0)


def test_what_is_not_known_is_null_and_not_zero() -> None:
    found = json.loads(json.dumps(summary_document(Model(CONTEXT).report())))
    assert [found[name] for name in ("transitions", "sockets", "events_lost", "connections_untracked")] == [None] * 4


def test_a_service_whose_handshake_times_are_unknown_has_null_quantiles() -> None:
    (found,) = summary_document(report_of(events("handshake", 3, flags=("handshake_unknown",))))["handshakes"]
    assert found["count"] == 3
    assert (found["p50_seconds"], found["max_seconds"]) == (None, None)


def test_labels_tell_services_apart_in_name_and_document() -> None:
    batches = [events("handshake", n, peer=f"192.0.2.{n}", process=b"curl", handshake_ns=1000) for n in (2, 1)]
    report = report_of(*batches, labels=("peer", "process"))
    assert [(s.name, s.handshakes) for s in services(report)] == [
        ("client 443 192.0.2.2 curl", 2),
        ("client 443 192.0.2.1 curl", 1),
    ]
    first = summary_document(report)["handshakes"][0]
    assert (first["role"], first["port"], first["peer"], first["process"]) == ("client", 443, "192.0.2.2", "curl")


def test_services_come_with_the_biggest_first_and_other_last() -> None:
    sizes = ((80, 2), (443, 5), (22, 1), (23, 9))  # of three, the smallest gives way to the last
    report = report_of(*(events("handshake", n, port=port) for port, n in sizes), max_sets=3)
    assert [(service.name, service.handshakes) for service in services(report)] == [
        ("client 23", 9),
        ("client 443", 5),
        ("client 80", 2),
        ("client other", 1),
    ]


def test_where_something_is_wrong_comes_first() -> None:
    report = report_of(
        events("handshake", 50, port=80), events("handshake", 2), events("retransmit", segments=1, retransmit_kind="fast")
    )
    assert [service.name for service in services(report)] == ["client 443", "client 80"]


def test_ports_without_a_service_are_told_apart_for_people_the_largest_first() -> None:
    scan = events("failure", 20_000, from_state="syn_sent")
    scan["remote_port"] = np.arange(20_000, 40_000)
    report = report_of(scan, events("failure", 3, port=23, from_state="syn_sent"), events("reset", 2, role="server", port=25))
    assert report.elsewhere[:3] == (Tried("client", 23, 3, 0), Tried("server", 25, 0, 2), Tried("client", 20_000, 1, 0))
    assert len(report.elsewhere) == 10


def test_a_summed_service_is_the_sum_of_its_parts() -> None:
    report = report_of(events("handshake", 2, port=80, handshake_ns=1000), events("handshake", 5, port=443, handshake_ns=9000))
    together = summed(report, services(report))
    assert (together.name, together.handshakes, together.quantile(1)) == ("among the others: 2", 7, 9e-6)


def test_the_document_has_bytes_resets_ports_and_drift_by_service() -> None:
    use = PortUse(7, "10.0.0.1", "10.0.0.2:443", 20, 28_232)
    read = reading(
        events("close", 2, sent_bytes=100, received_bytes=7),
        events("reset", 5, flags=("reset_sent",)),
        events("reset", 3, flags=("reset_received",)),
        sockets={"established": 1},
    )
    assert read.snapshot is not None
    model = Model(CONTEXT)
    model.add(replace(read, snapshot=replace(read.snapshot, ports=(use,), ports_limit=28_232)))
    report = replace(model.report(), audit=(AuditLine("ActiveOpens", 5, 3), AuditLine("ListenDrops", 1, None)))
    found = summary_document(report, "a-host")
    assert (found["host"], found["kernel"], found["version"]) == ("a-host", CONTEXT.kernel, __version__)
    service = {"role": "client", "port": 443}
    assert found["bytes"] == [service | {"sent_bytes": 200, "received_bytes": 14}]
    assert found["resets"] == [
        service | {"direction": "sent", "reason": "unspecified", "count": 5},
        service | {"direction": "received", "reason": None, "count": 3},
    ]
    ports = {"destination": "10.0.0.2:443", "netns": 7, "count": 20, "limit": 28_232, "seen": "sockets"}
    assert found["ephemeral_ports"] == {"limit": 28_232, "used": [ports]}
    assert found["drift"] == {"ActiveOpens": -2}


def test_what_was_not_seen_is_null_in_the_document() -> None:
    found = summary_document(Model(CONTEXT).report())
    assert (found["host"], found["ephemeral_ports"], found["drift"]) == (None, None, None)
