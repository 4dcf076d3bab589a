"""Every query of the dashboards and every rule, asked of a real Prometheus that scrapes a real run under real traffic.

A query that returns nothing here would be an empty panel for ever; so the traffic has something of everything. The job has a
second target that is down, since that must be seen as well.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.mixture import LOSSY, mixture, open_older, traffic
from tests.e2e.server import ADDRESS, Prometheus, prometheus
from tests.kernel import net
from tests.kernel.tracing import Tracing, tracing
from tests.kernel.until import until
from tests.needs import ROOT, bpf

pytestmark = [pytest.mark.kernel, pytest.mark.needs("prometheus", "nft")]

DASHBOARDS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "dashboards").glob("*.json")}
RULES = ROOT / "dashboards/rules.yml"
NAME = re.compile(r"\b(?:tcptrace|process)_\w+\b(?!:)")
LABEL_VALUES = re.compile(r"label_values\((.+), (\w+)\)")
RANGE = "15s"
DOWN = f"{ADDRESS}:1"
BPF_ENABLE_STATS, BPF_STATS_RUN_TIME = 32, 0

EMPTY = {
    "Connections and handshakes by container": "takes --label container",
    "Losses by host": "shows hosts that missed something, and nothing was missed",
    "Drift from the kernel counters by host": "shows hosts whose counts drift, and none did",
}
"""Panels that rightly are empty here, and why."""

ELSEWHERE = {"tcptrace_container_info": "takes --label container, and processes in a container or a unit"}
"""Metrics that a run does not have here, and why."""

JOINED = {"instance_container:tcptrace_container_pod:info": "takes kube-state-metrics"}
"""Recorded series that there cannot be here, and why."""


@dataclass(frozen=True)
class Query:
    """One query of a panel, as Grafana would send it."""

    panel: str
    expression: str


def walk(panels: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield all panels, those inside rows too."""
    for panel in panels:
        yield panel
        yield from walk(panel.get("panels", []))


def variables(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return list(dashboard["templating"]["list"])


def filled(expression: str, dashboard: dict[str, Any]) -> str:
    """Return an expression with all of Grafana's variables replaced, as `All` and a short range would."""
    values = {"__rate_interval": RANGE, "__interval": "1s", "__range": "1m"}
    values |= {variable["name"]: variable.get("allValue") or ".+" for variable in variables(dashboard)}
    return re.sub(r"\$\{?(\w+)\}?", lambda found: values[found[1]], expression)


def queries() -> list[Query]:
    return [
        Query(panel["title"], filled(target["expr"], dashboard))
        for dashboard in DASHBOARDS.values()
        for panel in walk(dashboard["panels"])
        for target in panel.get("targets", [])
    ]


def names(text: str) -> set[str]:
    """Return the exported metrics that an expression uses; recorded ones have colons."""
    return set(NAME.findall(text))


@contextmanager
def run_times() -> Iterator[None]:
    """Have the kernel measure how long BPF programs run, as long as this lasts and no longer."""
    fd = bpf(BPF_ENABLE_STATS, struct.pack("=I", BPF_STATS_RUN_TIME))
    assert fd >= 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        os.close(fd)


@dataclass(frozen=True)
class Watched:
    """A run under traffic, and the Prometheus that scrapes it."""

    tracer: Tracing
    server: Prometheus

    def rules(self) -> list[dict[str, Any]]:
        """Return all rules as Prometheus sees them."""
        return [rule for group in self.server.ask("rules")["data"]["groups"] for rule in group["rules"]]

    def empty(self, expressions: list[str]) -> list[str]:
        """Return those expressions that yield nothing now."""
        return [expression for expression in expressions if not self.server.query(expression)]

    def wait_for_data(self, expressions: list[str]) -> None:
        """Wait until every expression yields something."""
        left = set(expressions)

        def all_came() -> bool:
            left.intersection_update(self.empty(list(left)))
            return not left

        try:
            until(all_came, "all have come", seconds=40)
        except AssertionError:
            raise AssertionError(f"these yield nothing: {sorted(left)}") from None


@pytest.fixture(name="watched", scope="module")
def fixture_watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Return a run in a namespace of its own and a Prometheus beside it, which scrapes and evaluates every second."""
    place = tmp_path_factory.mktemp("prometheus")
    with net.namespace() as side, mixture(side) as found, run_times():
        older = open_older(found)
        with (
            tracing("--netns", "own", side=side) as tracer,
            traffic(found, older),
            prometheus(place, tracer.address, DOWN, rules=[RULES], interval="1s", side=side) as server,
        ):
            server.wait_until_up()
            yield Watched(tracer, server)


def test_every_query_of_every_panel_returns_numbers(watched: Watched) -> None:
    asked = queries()
    assert asked
    watched.wait_for_data([query.expression for query in asked if query.panel not in EMPTY])
    for query in asked:
        values = [sample.value for sample in watched.server.query(query.expression)]
        assert [value for value in values if not math.isfinite(value)] == [], query


def test_the_panels_that_may_be_empty_exist_and_are_valid(watched: Watched) -> None:
    excused = [query for query in queries() if query.panel in EMPTY]
    assert {query.panel for query in excused} == set(EMPTY)
    for query in excused:
        watched.server.query(query.expression)


def test_every_variable_has_values_to_choose_from(watched: Watched) -> None:
    asked = [
        (found[2], filled(found[1], dashboard))
        for dashboard in DASHBOARDS.values()
        for variable in variables(dashboard)
        if variable["type"] == "query"
        for found in LABEL_VALUES.finditer(json.dumps(variable["query"]).replace('\\"', '"'))
    ]
    assert {label for label, _ in asked} == {"job", "instance"}
    watched.wait_for_data([f"count by ({label}) ({metric})" for label, metric in asked])


def test_every_recording_rule_records_numbers(watched: Watched) -> None:
    records = [rule["name"] for rule in watched.rules() if rule["type"] == "recording" and rule["name"] not in JOINED]
    watched.wait_for_data(records)
    for name in records:
        assert all(math.isfinite(sample.value) for sample in watched.server.query(name)), name


def test_every_rule_is_healthy_and_no_query_is_warned_of(watched: Watched) -> None:
    until(lambda: all(rule["health"] != "unknown" for rule in watched.rules()), "every rule was evaluated")
    assert [rule for rule in watched.rules() if rule["health"] != "ok" or rule.get("lastError")] == []
    for rule in watched.rules():
        assert "warnings" not in watched.server.ask("query", query=rule["query"]), rule["name"]


def test_the_alerts_that_the_traffic_deserves_are_pending_and_no_other(watched: Watched) -> None:
    wanted = {("TcptraceDown", ""), ("TcptraceRetransmissions", str(LOSSY)), ("TcptraceHandshakeSlow", str(LOSSY))}
    wanted |= {("TcptraceHandshakeFailures", "other")}  # of ports on which no handshake was ever done

    def pending() -> set[tuple[str, str]]:
        alerts = watched.server.ask("alerts")["data"]["alerts"]
        return {(alert["labels"]["alertname"], alert["labels"].get("port", "")) for alert in alerts}

    until(lambda: pending() >= wanted, f"all of these are pending: {wanted}")
    assert pending() == wanted


def test_what_dashboards_and_rules_use_is_what_a_run_exports(watched: Watched) -> None:
    watched.wait_for_data([query.expression for query in queries() if query.panel not in EMPTY])
    families = list(text_string_to_metric_families(watched.tracer.get("/metrics")[0].decode()))
    samples = {sample.name: family.name for family in families for sample in family.samples}
    samples |= {family.name: family.name for family in families if family.type == "histogram"}  # as native ones
    used = {name for query in queries() for name in names(query.expression)}
    used |= {name for rule in watched.rules() for name in names(rule["query"])}
    assert used - set(samples) == set(ELSEWHERE)
    assert set(samples.values()) - {samples[name] for name in used - set(ELSEWHERE)} == set()
