from __future__ import annotations

import subprocess

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.unit.model.builder import CONTEXT, events, report_of
from tracer.ingest.workloads import Workload
from tracer.model.naming import Naming
from tracer.model.report import Report
from tracer.model.totals import Model
from tracer.outputs.metrics import METRICS, L
from tracer.outputs.prometheus import OPENMETRICS, TEXT, render

ID = "0123456789abcdef" * 4

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(report: Report) -> Samples:
    families = parse_text(render(report).decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(report: Report, name: str, **labels: str) -> float:
    return samples(report)[f"tcptrace_{name}", frozenset(labels.items())]


def test_promtool_finds_nothing_to_complain_about(promtool: str, report: Report) -> None:
    done = subprocess.run([promtool, "check", "metrics"], input=render(report), capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_metrics_have_the_contracts_names_values_and_labels(report: Report) -> None:
    client = {"role": "client", "port": "443"}
    server = {"role": "server", "port": "8080"}
    assert value(report, "handshakes_total", **client) == 23
    assert value(report, "handshakes_total", **server) == 46
    assert value(report, "handshake_duration_seconds_count", **client) == 23
    assert value(report, "handshake_failures_total", **client, reason="refused") == 5
    assert value(report, "connections", **client) == 16
    assert value(report, "connections_closed_total", **client, reason="normal") == 7
    assert value(report, "connection_duration_seconds_count", **server) == 2
    assert value(report, "srtt_seconds_count", **client) == 7
    assert value(report, "sent_bytes_total", **client) == 7000
    assert value(report, "received_bytes_total", **server) == 1000
    assert value(report, "retransmitted_segments_total", **client, kind="timeout") == 3
    assert value(report, "resets_sent_total", **server, reason="tcp_abort_on_data") == 2
    assert value(report, "resets_received_total", **client) == 1
    assert value(report, "state_duration_seconds_count", state="syn_sent") == 12
    assert value(report, "state_transitions_total", **{"from": "close", "to": "syn_sent"}) == 28
    assert value(report, "sockets", state="time_wait") == 7


def test_the_tracers_own_health_is_exported(report: Report) -> None:
    program = {"program": "inet_sock_set_state"}
    assert value(report, "program_attached", **program) == 1
    assert value(report, "program_runs_total", **program) == 100
    assert value(report, "program_run_seconds_total", **program) == 0.25
    assert value(report, "program_misses_total", **program) == 1
    assert value(report, "events_total", kind="handshake") == 69
    assert value(report, "events_lost_total") == 0
    assert value(report, "connections_untracked_total") == 0
    assert value(report, "connections_partial_total") == 4
    assert value(report, "label_overflow_total") == 0
    assert ("process_resident_memory_bytes", frozenset()) in samples(report)


def test_build_info_names_the_versions(report: Report) -> None:
    assert b'tcptrace_build_info{bcc="0.26.0",kernel="6.18.0",reads="direct",version="' in render(report)


def test_histograms_have_classic_buckets_at_the_powers_of_two(report: Report) -> None:
    found = samples(report)
    buckets = {
        dict(labels)["le"]: count
        for (name, labels), count in found.items()
        if name == "tcptrace_handshake_duration_seconds_bucket" and ("role", "client") in labels
    }
    assert list(map(float, buckets)) == [*(2.0**i for i in range(-20, 7)), float("inf")]
    assert [count for bound, count in buckets.items() if float(bound) < 0.001] == [0] * 11
    assert {count for bound, count in buckets.items() if float(bound) > 0.001} == {23}


def test_counters_by_reason_start_with_zeros_so_that_the_first_failure_is_an_increase(report: Report) -> None:
    assert value(report, "handshake_failures_total", role="server", port="8080", reason="refused") == 0


def test_no_created_series_are_exported(report: Report) -> None:
    assert b"_created" not in render(report) + render(report, OPENMETRICS)


def test_what_is_not_known_is_left_out() -> None:
    text = render(Model(CONTEXT).report()).decode()
    assert "events_lost" not in text
    assert "tcptrace_sockets" not in text
    assert "tcptrace_handshakes" not in text


def test_other_is_exported_only_when_something_was_counted_there() -> None:
    assert b'"other",role="other"' not in render(report_of(events("handshake")))
    over = report_of(events("handshake", 2), events("handshake", 3, port=80), max_sets=1)
    assert value(over, "handshakes_total", role="client", port="other") == 2
    assert value(over, "label_overflow_total") == 2


def test_labels_that_were_asked_for_are_on_every_metric_of_a_series() -> None:
    report = report_of(events("handshake", 2, process=b'we"ird\\\n\x1b'), labels=("process",))
    assert value(report, "handshakes_total", role="client", port="443", process=r'we"ird\\n\x1b') == 2


def test_containers_are_told_once_each_with_the_label_and_not_without() -> None:
    found = {
        7: Workload("0123456789ab", ID, "7d3f2b1c-0000-1111-2222-333344445555"),
        8: Workload("a.service", unit="a.service"),
    }
    batches = [events("handshake", port=port, cgroup=cgroup) for port in (80, 81) for cgroup in (7, 8, 9)]
    report = report_of(*batches, labels=("container",), naming=Naming(container=lambda cgroup: found.get(cgroup, Workload())))
    about = [dict(labels) for name, labels in samples(report) if name == "tcptrace_container_info"]
    assert sorted(about, key=lambda labels: labels["container"]) == [
        {"container": "0123456789ab", "container_id": ID, "pod_uid": "7d3f2b1c-0000-1111-2222-333344445555", "unit": ""},
        {"container": "a.service", "container_id": "", "pod_uid": "", "unit": "a.service"},
    ]
    assert b"container_info" not in render(report_of(*batches))


def test_both_formats_say_the_same(report: Report) -> None:
    def own(text: str) -> str:
        return "".join(line for line in text.splitlines(keepends=True) if line.startswith("tcptrace_"))

    assert own(render(report, OPENMETRICS).decode()) == own(render(report).decode())


def test_openmetrics_is_valid_to_its_own_parser(report: Report) -> None:
    text = render(report, OPENMETRICS).decode()
    assert text.endswith("# EOF\n")
    assert "# UNIT tcptrace_handshake_duration_seconds seconds" in text
    families = parse_openmetrics(text)  # type: ignore[no-untyped-call]
    assert "tcptrace_sent_bytes" in {family.name for family in families}


def test_every_metric_has_a_name_of_its_own_and_a_help_text_that_is_a_sentence() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert all(metric.help.endswith(".") for metric in METRICS)
    assert all(metric.labels.index(L) == 0 for metric in METRICS if L in metric.labels)


def test_no_label_value_has_a_control_byte_whatever_a_process_is_called() -> None:
    names = [bytes([byte]) * 3 + b"x" for byte in range(1, 256)]
    report = report_of(*(events("handshake", process=name, port=1) for name in names), labels=("process",))
    for form in (TEXT, OPENMETRICS):
        lines = render(report, form).decode().split("\n")
        assert sum("tcptrace_handshakes_total{" in line for line in lines) > 200
        assert [line for line in lines if not line.isprintable()] == []
