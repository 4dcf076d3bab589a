from __future__ import annotations

import pytest

from tracer.outputs.accept import negotiate
from tracer.outputs.prometheus import OPENMETRICS, PROTOBUF, TEXT

PROTO = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"

PROMETHEUS = {
    "2.42": ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
             "text/plain;version=0.0.4;q=0.5,*/*;q=0.1", OPENMETRICS),
    "2.42, native-histograms": (f"{PROTO},application/openmetrics-text;version=1.0.0;q=0.8,"
             "application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", PROTOBUF),
    "2.55, native-histograms": (f"{PROTO};q=0.5,application/openmetrics-text;version=1.0.0;q=0.4,"
             "application/openmetrics-text;version=0.0.1;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1", PROTOBUF),
    "3": ("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
             "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
             "text/plain;version=0.0.4;q=0.3,*/*;q=0.2", OPENMETRICS),
    "3, scrape_native_histograms": (f"{PROTO};q=0.6,application/openmetrics-text;version=1.0.0;escaping=dots;q=0.5,"
             "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=dots;q=0.3,"
             "text/plain;version=0.0.4;q=0.2,*/*;q=0.1", PROTOBUF),
    "3, escaping of protobuf": (f"{PROTO};escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.2", PROTOBUF),
    "3, scrape_protocols: [PrometheusText0.0.4, PrometheusProto]":
        (f"text/plain;version=0.0.4;q=0.3,{PROTO};q=0.2,*/*;q=0.1", TEXT),
}  # fmt: skip


@pytest.mark.parametrize(("accept", "content_type"), PROMETHEUS.values(), ids=PROMETHEUS)
def test_prometheus_gets_what_it_prefers(accept: str, content_type: str) -> None:
    assert negotiate(accept) == content_type


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/html,*/*;q=0.8", TEXT),
        ("text/plain", TEXT),
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text; version=1.0.0; q=0.5, text/plain; q=0.9", TEXT),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text;q=nonsense", TEXT),
        (";;,,;q=", TEXT),
        (PROTO, PROTOBUF),
        (PROTO.upper(), PROTOBUF),
        (PROTO.replace(";", " ; "), PROTOBUF),
        (PROTO.replace("delimited", '"delimited"'), PROTOBUF),
        ("application/vnd.google.protobuf;encoding=delimited;q=0.9;proto=io.prometheus.client.MetricFamily,*/*", PROTOBUF),
        (f"{PROTO};q=0", TEXT),
        (f"{PROTO};q=0,application/openmetrics-text;q=0.1", OPENMETRICS),
        (f"{PROTO};q=nan", TEXT),
        (f"{PROTO};q=0.5,text/plain;q=0.50001", TEXT),
        (f"text/plain,application/openmetrics-text,{PROTO}", PROTOBUF),
    ],
)
def test_the_highest_weight_decides_and_the_richest_form_among_equals(accept: str, content_type: str) -> None:
    assert negotiate(accept) == content_type


@pytest.mark.parametrize(
    "accept",
    [
        "application/vnd.google.protobuf",
        "application/vnd.google.protobuf;encoding=delimited",
        PROTO.replace("delimited", "text"),
        PROTO.replace("delimited", "compact-text"),
        PROTO.replace("MetricFamily", "MetricSet"),
        "application/*",
        "*/*",
    ],
)
def test_protobuf_is_only_for_those_who_name_these_messages_and_this_encoding(accept: str) -> None:
    assert negotiate(f"{accept},text/plain;q=0.5") == TEXT
