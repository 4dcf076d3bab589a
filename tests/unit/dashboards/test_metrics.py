"""What the dashboards ask for is what tcptrace exports: no name, label or label value that it does not have, and all it has."""

from __future__ import annotations

import re

from prometheus_client import CollectorRegistry
from prometheus_client.process_collector import ProcessCollector

from tests.unit.dashboards.files import all_targets, selectors, without_selectors
from tracer.model.tcp import CLOSE_REASONS, FAILURE_REASONS, RETRANSMIT_KINDS, ROLES, STATES
from tracer.outputs.metrics import METRICS, PREFIX, HistogramMetric, L

BY_PROMETHEUS = {"up"}
TARGETS = all_targets()
SELECTORS = [selector for target in TARGETS for selector in selectors(target.expression)]
LABELS = {"left", "job", "instance", "le", "role", "port"} | {
    label for metric in METRICS for label in metric.labels if label != L
}
VALUES = {"role": set(ROLES), "kind": set(RETRANSMIT_KINDS), "state": set(STATES), "reason": {*FAILURE_REASONS, *CLOSE_REASONS}}


def exported() -> dict[str, set[str]]:
    """Return every metric of /metrics with the names of its samples."""
    ours = {PREFIX + metric.name: metric for metric in METRICS}
    parts = ("", "_bucket", "_sum", "_count")  # the first is a native histogram
    found = {name: {name + part for part in parts} if isinstance(ours[name], HistogramMetric) else {name} for name in ours}
    for family in ProcessCollector(registry=CollectorRegistry()).collect():
        found[family.name] = {sample.name for sample in family.samples}
    return found


def test_the_dashboards_use_no_metric_that_is_not_exported() -> None:
    samples = {sample for names in exported().values() for sample in names}
    assert {selector.name for selector in SELECTORS} - samples == BY_PROMETHEUS


def test_every_metric_that_is_exported_is_on_a_dashboard() -> None:
    used = {selector.name for selector in SELECTORS}
    assert [metric for metric, samples in exported().items() if not samples & used] == []


def test_no_metric_is_named_without_braces() -> None:
    rest = [without_selectors(target.expression) for target in TARGETS]
    assert [text for text in rest if re.search(r"\b(tcptrace_|process_)", text)] == []


def test_the_dashboards_use_no_label_that_is_not_exported() -> None:
    clauses = (found for target in TARGETS for found in re.findall(r"\b(?:by|on) \(([^)]+)\)", target.expression))
    used = {label for clause in clauses for label in clause.split(", ")} | {
        name for found in SELECTORS for name in found.matchers
    }
    assert used <= LABELS


def test_matchers_name_only_values_that_occur() -> None:
    named = [(label, value) for selector in SELECTORS for label, (_, value) in selector.matchers.items() if label in VALUES]
    assert named
    assert [(label, value) for label, value in named if not set(value.split("|")) <= VALUES[label]] == []
