"""The rules for Prometheus: promtool agrees, each alert says what it means and what to do, and each is tried both ways.

What they yield is written down in rules/*.yml, the language in which promtool takes tests.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.needs import ROOT, tool
from tracer.model.audit import AUDITED, UNSEEN
from tracer.model.histogram import CLASSIC_BOUNDS
from tracer.model.tcp import CLOSE_REASONS, FAILURE_REASONS, KINDS, RETRANSMIT_KINDS, ROLES, STATES
from tracer.outputs.metrics import METRICS, PREFIX, HistogramMetric, L

FILE = ROOT / "dashboards/rules.yml"
TESTS = sorted((ROOT / "tests/unit/dashboards/rules").glob("*.yml"))
NAME = re.compile(r"(?:\w+:)?tcptrace_\w+(?::\w+)?")
LEVELS = {"instance", "instance_container", "instance_role_port", "instance_destination", "instance_counter", "job_role_port"}


def rules(kind: str) -> dict[str, dict[str, Any]]:
    """Return the rules of a kind, alert or record, by name."""
    document = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return {rule[kind]: rule for group in document["groups"] for rule in group["rules"] if kind in rule}


ALERTS, RECORDS = rules("alert"), rules("record")


def cases(kind: str) -> list[dict[str, Any]]:
    """Return all tests of a kind, alert_rule_test or promql_expr_test."""
    documents = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in TESTS]
    return [case for document in documents for test in document["tests"] for case in test.get(kind, [])]


def samples() -> set[str]:
    """Return the names of all samples that tcptrace exports."""
    parts = ("", "_bucket", "_sum", "_count")  # the first is a native histogram
    return {PREFIX + m.name + part for m in METRICS for part in (parts if isinstance(m, HistogramMetric) else ("",))}


@pytest.mark.needs("promtool")
def test_promtool_finds_every_rule_and_no_fault() -> None:
    command = [tool("promtool"), "check", "rules", "--lint=all", "--lint-fatal", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"SUCCESS: {len(ALERTS) + len(RECORDS)} rules found" in done.stdout


@pytest.mark.needs("promtool")
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_the_rules_yield_what_is_written_down(path: Path) -> None:
    done = subprocess.run(
        [tool("promtool"), "test", "rules", str(path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_waits_and_says_how_bad_it_is_what_it_means_and_where_to_read_on(name: str) -> None:
    rule, notes = ALERTS[name], ALERTS[name]["annotations"]
    assert rule["for"]
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(notes) == {"summary", "description", "runbook"}
    assert notes["runbook"] == f"dashboards/RUNBOOK.md#{name.lower()}"
    assert len(notes["summary"]) < 120


def test_every_alert_has_a_section_in_the_runbook_and_none_is_left_over() -> None:
    text = (ROOT / "dashboards/RUNBOOK.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\w+)$", text, re.MULTILINE) == list(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_is_tried_firing_and_not_firing(name: str) -> None:
    fires = {bool(case["exp_alerts"]) for case in cases("alert_rule_test") if case["alertname"] == name}
    assert fires == {True, False}


def test_every_recorded_series_is_tried() -> None:
    tried = {name for case in cases("promql_expr_test") for name in NAME.findall(case["expr"])}
    assert tried - samples() == set(RECORDS)


def test_recorded_names_are_level_metric_operations() -> None:
    for name in RECORDS:
        level, metric, operations = name.split(":")
        assert level in LEVELS
        assert metric.startswith(PREFIX)
        assert operations


def test_the_rules_use_nothing_that_is_neither_exported_nor_recorded() -> None:
    used = {name for rule in (*ALERTS.values(), *RECORDS.values()) for name in NAME.findall(rule["expr"])}
    assert used
    assert used - samples() - set(RECORDS) == set()


OURS = {PREFIX + metric.name: metric for metric in METRICS}
BY_LABEL = ("netns", "container", "unit", "process", "peer")
"""Labels that --label adds to those of a series."""

VALUES = {
    "role": set(ROLES),
    "state": set(STATES),
    "kind": {*RETRANSMIT_KINDS, *KINDS},
    "reason": {*FAILURE_REASONS, *CLOSE_REASONS},
    "counter": {*AUDITED, *UNSEEN},
    "le": {"+Inf", *(f"{bound:.12g}" for bound in CLASSIC_BOUNDS)},
}


def inputs() -> list[tuple[str, dict[str, str]]]:
    """Return name and labels of each series that a test of the rules is given, where tcptrace is to have exported it."""
    documents = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in TESTS]
    texts = [entry["series"] for document in documents for test in document["tests"] for entry in test["input_series"]]
    found = [re.fullmatch(r"(\w+)\{(.*)\}", text) for text in texts]
    assert all(found)
    every = [(match[1], dict(re.findall(r'(\w+)="([^"]*)"', match[2]))) for match in found if match]
    return [(name, labels) for name, labels in every if name.startswith(PREFIX)]


def test_the_tests_of_the_rules_are_given_only_what_the_program_can_produce() -> None:
    assert inputs()
    for name, labels in inputs():
        metric = OURS[name.removesuffix("_bucket") if "le" in labels else name]
        optional = {"region"} | ({*BY_LABEL} if L in metric.labels else {*getattr(metric, "optional", ())})
        own = {part for label in metric.labels for part in (("role", "port") if label == L else (label,))}
        own |= {"job", "instance"} | ({"le"} if name.endswith("_bucket") else set())
        assert own - optional <= {*labels} <= own | optional, (name, labels)
        assert [(key, value) for key, value in labels.items() if key in VALUES and value not in VALUES[key]] == [], name
