"""The rules of Grafana's dashboard-linter, applied to our dashboards: it is a Go program that no package brings along.

Our rules are stricter in three places: a description begins with a question, a counter is a counter also with matchers behind
its name, and what another exporter has too (process_*, up) is kept to tcptrace's own.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.needs import tool
from tests.unit.dashboards.files import DASHBOARDS, all_panels, all_targets, selectors, without_selectors
from tracer.outputs.metrics import METRICS, PREFIX, HistogramMetric

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
UNITS = {"short", "none", "s", "dtdurations", "percentunit", "Bps", "bytes", "decbytes", "bool_yes_no"}
A_SECOND = re.compile(r"count:([a-zA-Z]*)/s")
"""A rate says what it counts."""

SCOPE = {"job": ("=~", "$job"), "instance": ("=~", "$instance")}
CUMULATIVE = ("_total", "_bucket", "_sum", "_count")
NATIVE = {PREFIX + metric.name for metric in METRICS if isinstance(metric, HistogramMetric)}

# Counters whose value since the start may be the point, and is mostly the same as when Prometheus first asked.
SINCE_START = {"tcptrace_audit_kernel_total", "tcptrace_audit_traced_total", "tcptrace_connections_partial_total"}

TARGETS = all_targets()

every_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)


def is_unit(unit: str) -> bool:
    return unit in UNITS or A_SECOND.fullmatch(unit) is not None


def variables(dashboard: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {variable["name"]: variable for variable in dashboard["templating"]["list"]}


@every_dashboard
def test_a_dashboard_cannot_be_edited_in_place(dashboard: dict[str, Any]) -> None:
    assert dashboard["editable"] is False


@every_dashboard
def test_the_data_source_is_chosen_by_a_variable(dashboard: dict[str, Any]) -> None:
    (variable,) = (found for found in variables(dashboard).values() if found["type"] == "datasource")
    assert (variable["name"], variable["label"], variable["query"]) == ("datasource", "Data source", "prometheus")


@every_dashboard
@pytest.mark.parametrize(("name", "matchers"), [("job", ""), ("instance", '{job=~"$job"}')])
def test_job_and_instance_are_chosen_by_variables(dashboard: dict[str, Any], name: str, matchers: str) -> None:
    variable = variables(dashboard)[name]
    assert variable["type"] == "query"
    assert variable["label"] == name.capitalize()
    assert variable["datasource"] == DATASOURCE
    assert variable["query"] == variable["definition"] == f"label_values(tcptrace_build_info{matchers}, {name})"
    assert (variable["multi"], variable["includeAll"], variable["allValue"]) == (True, True, ".+")
    assert variable["refresh"] == 2  # when the time range changes, since hosts come and go


@every_dashboard
def test_there_are_no_other_variables(dashboard: dict[str, Any]) -> None:
    assert list(variables(dashboard)) == ["datasource", "job", "instance"]


def test_a_panel_is_named_by_its_figure_and_its_description_answers_a_question() -> None:
    for where, panel in all_panels():
        assert re.fullmatch(r"[A-Z][^?]*[^?.]", panel["title"]), where
        question, answer = panel["description"].split("? ", 1)
        assert question[0].isupper(), where
        assert len(answer) > 60, where
        assert answer.endswith("."), where


def test_a_panel_has_a_unit_and_says_what_no_data_means() -> None:
    for where, panel in all_panels():
        defaults = panel["fieldConfig"]["defaults"]
        assert is_unit(defaults["unit"]), where
        assert defaults["noValue"], where
        overridden = [found for override in panel["fieldConfig"]["overrides"] for found in override["properties"]]
        assert all(is_unit(found["value"]) for found in overridden if found["id"] == "unit"), where


def test_a_panel_and_its_queries_use_the_chosen_data_source() -> None:
    for where, panel in all_panels():
        assert panel["targets"], where
        assert all(part["datasource"] == DATASOURCE for part in (panel, *panel["targets"])), where


def test_the_queries_of_a_panel_have_letters_and_its_lines_have_names() -> None:
    for where, panel in all_panels():
        letters = [target["refId"] for target in panel["targets"]]
        assert letters == sorted(set(letters)), where
        assert panel["type"] != "timeseries" or all(target["legendFormat"] for target in panel["targets"]), where


def test_every_metric_of_a_query_keeps_to_the_chosen_jobs_and_hosts() -> None:
    for target in TARGETS:
        found = selectors(target.expression)
        assert found, target.where
        for selector in found:
            assert SCOPE.items() <= selector.matchers.items(), selector


def test_a_rate_is_taken_over_grafanas_interval() -> None:
    for target in TARGETS:
        windows = {(selector.function, selector.range) for selector in selectors(target.expression) if selector.range}
        allowed = {("rate", "$__rate_interval"), ("increase", "$__range"), ("last_over_time", "$__range")}
        assert windows <= allowed | {("deriv", "15m"), ("predict_linear", "15m")}, target.where


def test_a_counter_is_shown_by_its_growth() -> None:
    for target in TARGETS:
        for selector in selectors(target.expression):
            grows = selector.name.endswith(CUMULATIVE) or selector.name in NATIVE
            if selector.name in SINCE_START:
                continue  # either way makes sense
            assert (selector.function in {"rate", "increase"}) == grows, selector


def test_nothing_is_divided_by_what_may_be_zero() -> None:
    for target in TARGETS:
        known = sum(target.expression.count(divisor) for divisor in (" / 1e6", " / process_max_fds{"))
        assert target.expression.count(" / ") == target.expression.count(" > 0)") + known, target.where


def test_a_quantile_of_nothing_is_left_out() -> None:
    for target in TARGETS:
        assert target.expression.count("histogram_quantile(") == target.expression.count(">= 0"), target.where


def test_what_other_exporters_have_too_is_kept_to_tcptrace() -> None:
    for target in TARGETS:
        names = {selector.name for selector in selectors(target.expression)}
        if any(not name.startswith("tcptrace_") for name in names):
            assert "tcptrace_build_info" in names, target.where
            assert re.search(r"(and|\*) on \(job(, instance)?\)", target.expression), target.where


def test_what_a_histogram_shows_is_asked_of_native_and_of_classic_ones() -> None:
    for target in TARGETS:
        names = {selector.name for selector in selectors(target.expression)}
        classic = {name for name in NATIVE if names & {f"{name}_bucket", f"{name}_sum"}}
        assert classic == names & NATIVE, target.where


def test_a_legend_names_only_labels_that_the_query_keeps() -> None:
    for target in TARGETS:
        named = set(re.findall(r"{{(\w+)}}", target.legend))
        rest = without_selectors(target.expression)
        kept = {label for labels in re.findall(r"\bby \(([^)]*)\)", rest) for label in labels.split(", ")}
        assert named <= (kept if re.search(r"\b(sum|max|min|count)\b", rest) else {"instance", "job"}), target.where


@pytest.mark.needs("promtool")
def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    expressions = [target.expression.replace("$__rate_interval", "5m").replace("$__range", "1h") for target in TARGETS]
    recorded = [{"record": f"query:number_{n}", "expr": expression} for n, expression in enumerate(expressions)]
    path = tmp_path / "queries.yml"
    path.write_text(json.dumps({"groups": [{"name": "queries", "rules": recorded}]}), encoding="utf-8")
    command = [tool("promtool"), "check", "rules", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(TARGETS)} rules found" in done.stdout
