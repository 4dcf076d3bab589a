"""The protobuf form, decoded by another implementation, says what the text says and has native histograms beside it."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.unit.model.builder import CONTEXT, events, reading, report_of
from tests.unit.outputs.metricfamily import families, labels_of
from tracer.model.histogram import CLASSIC_BOUNDS
from tracer.model.report import Report
from tracer.model.totals import Model
from tracer.outputs.prometheus import PROTOBUF, TEXT, render

COUNTER, GAUGE, HISTOGRAM = 0, 1, 4

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def decoded(report: Report) -> dict[str, Any]:
    found = list(families(render(report, PROTOBUF)))
    assert len({family.name for family in found}) == len(found)
    return {family.name: family for family in found}


def classic_samples(family: Any) -> Samples:
    """Return what a scraper makes of a family that knows no native histograms."""
    found: Samples = {}
    for metric in family.metric:
        labels = labels_of(metric)
        if family.type != HISTOGRAM:
            found[family.name, frozenset(labels.items())] = (metric.counter if family.type == COUNTER else metric.gauge).value
            continue
        found[f"{family.name}_count", frozenset(labels.items())] = metric.histogram.sample_count
        found[f"{family.name}_sum", frozenset(labels.items())] = metric.histogram.sample_sum
        counts = [*(bucket.cumulative_count for bucket in metric.histogram.bucket), metric.histogram.sample_count]
        bounds = [*(str(bucket.upper_bound) for bucket in metric.histogram.bucket), "+Inf"]
        for bound, count in zip(bounds, counts, strict=True):
            found[f"{family.name}_bucket", frozenset((labels | {"le": bound}).items())] = count
    return found


def of_text(report: Report) -> Samples:
    parsed = parse_text(render(report, TEXT).decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in parsed for s in family.samples}


def own(samples: Samples) -> Samples:
    """Return all but what differs from one moment to the next."""
    return {key: value for key, value in samples.items() if not key[0].startswith("process_")}


def test_the_classic_part_is_sample_for_sample_that_of_the_text(report: Report) -> None:
    samples: Samples = {}
    for family in decoded(report).values():
        samples |= classic_samples(family)
    assert own(samples) == own(of_text(report))
    assert samples.keys() == of_text(report).keys()


def test_families_have_help_and_the_type_that_the_text_has(report: Report) -> None:
    found = decoded(report)
    types = {"counter": COUNTER, "gauge": GAUGE, "histogram": HISTOGRAM}
    for line in render(report, TEXT).decode().splitlines():
        _, word, name, rest = line.split(" ", 3) if line.startswith("# ") else ("", "", "", "")
        assert word != "TYPE" or found[name].type == types[rest]
        assert word != "HELP" or found[name].help == rest


def test_a_native_histogram_has_schema_3_whole_numbers_and_the_classic_buckets_beside_it(report: Report) -> None:
    (metric,) = (
        metric
        for metric in decoded(report)["tcptrace_handshake_duration_seconds"].metric
        if labels_of(metric) == {"role": "client", "port": "443"}
    )
    histogram = metric.histogram
    assert (histogram.schema, histogram.zero_threshold, histogram.zero_count) == (3, 2.0**-20, 0)
    assert [(span.offset, span.length) for span in histogram.positive_span] == [(math.ceil(8 * math.log2(0.001)), 1)]
    assert list(histogram.positive_delta) == [23] == [histogram.sample_count]
    assert histogram.sample_sum == pytest.approx(0.023)
    assert [bucket.upper_bound for bucket in histogram.bucket] == list(CLASSIC_BOUNDS)
    unused = {"sample_count_float", "zero_count_float", "positive_count", "negative_span", "negative_delta", "negative_count"}
    assert not unused & {field.name for field, _ in histogram.ListFields()}


def test_the_buckets_of_a_native_histogram_add_up_to_its_count_whatever_the_times() -> None:
    times = np.random.default_rng(23).lognormal(15, 8, 1000).astype(np.uint64)
    report = report_of(*(events("close", duration_ns=int(time), srtt_us=int(min(time // 1000, 2**31))) for time in times))
    found = decoded(report)
    for name in ("connection_duration_seconds", "srtt_seconds"):
        (metric,) = found[f"tcptrace_{name}"].metric
        counts = np.cumsum(metric.histogram.positive_delta)
        assert metric.histogram.zero_count + counts.sum() == metric.histogram.sample_count > 0
        assert len(counts) == sum(span.length for span in metric.histogram.positive_span)
        assert (counts > 0).all()


def test_numbers_of_any_size_arrive() -> None:
    model = Model(CONTEXT)
    model.add(reading(transitions={("close", "syn_sent"): 2**53 - 1}, cells={"events_lost": 300}))
    found = decoded(model.report())
    assert found["tcptrace_state_transitions_total"].metric[0].counter.value == 2**53 - 1
    assert found["tcptrace_events_lost_total"].metric[0].counter.value == 300


def test_labels_keep_every_character() -> None:
    report = report_of(events("handshake", process='we"ird\\é'.encode()), labels=("process",))
    (metric,) = decoded(report)["tcptrace_handshakes_total"].metric
    assert labels_of(metric) == {"role": "client", "port": "443", "process": 'we"ird\\é'}


def test_families_without_metrics_are_left_out() -> None:
    found = decoded(Model(CONTEXT).report())
    assert "tcptrace_handshakes_total" not in found
    assert all(family.metric for family in found.values())


def test_the_body_is_a_sequence_of_lengths_and_messages(report: Report) -> None:
    body = render(report, PROTOBUF)
    name = b"tcptrace_handshakes_total"
    assert body[2:29] == b"\x0a" + bytes([len(name)]) + name
    assert struct.pack("<d", 46.0) in body
