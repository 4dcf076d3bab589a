"""Our text is prometheus-client's own, to the last byte."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from tests.unit.model.builder import events, report_of
from tests.unit.outputs.conftest import model_of_traffic
from tests.unit.outputs.stock import ReportCollector
from tracer.model.report import Report
from tracer.outputs.metrics import METRICS
from tracer.outputs.prometheus import OPENMETRICS, TEXT, render

ALL_LABELS = ("peer", "process", "container", "netns")
COUNT = st.integers(0, 2**53)


def ours(report: Report, content_type: str) -> list[str]:
    return steady(render(report, content_type))


def stock(report: Report, content_type: str) -> list[str]:
    collector = ReportCollector(report)
    if content_type == OPENMETRICS:
        return steady(openmetrics.generate_latest(collector))  # type: ignore[no-untyped-call]
    return steady(generate_latest(collector))


def steady(text: bytes) -> list[str]:
    """Return the lines that say the same from one moment to the next; this process's own resources do not."""
    return [line for line in text.decode().splitlines() if not line.startswith("process_")]


@pytest.mark.parametrize("content_type", [TEXT, OPENMETRICS])
def test_ordinary_traffic_is_written_as_the_library_would(content_type: str) -> None:
    report = model_of_traffic().report()
    assert ours(report, content_type) == stock(report, content_type)
    assert len(ours(report, content_type)) > 300


@pytest.mark.parametrize("content_type", [TEXT, OPENMETRICS])
@given(name=st.binary(max_size=15), sent=COUNT, durations=st.lists(st.integers(0, 2**62), min_size=1, max_size=5))
def test_any_name_and_number_is_written_as_the_library_would(
    content_type: str, name: bytes, sent: int, durations: list[int]
) -> None:
    closes = events("close", len(durations), process=name, sent_bytes=sent)
    closes["duration_ns"] = np.array(durations, np.uint64)
    report = report_of(events("handshake", 3, process=name, handshake_ns=33_000), closes, labels=ALL_LABELS)
    assert ours(report, content_type) == stock(report, content_type)


def test_no_help_has_a_letter_that_would_need_escaping() -> None:
    assert not {letter for metric in METRICS for letter in metric.help} & set('\\\n"')
