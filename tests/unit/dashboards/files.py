"""The dashboards as Grafana gets them, taken apart: panels, queries, and the selectors inside the queries."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.needs import ROOT

FILES = sorted((ROOT / "dashboards").glob("tcptrace-*.json"))
DASHBOARDS: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FILES}

SELECTOR = re.compile(r"(?P<before>\w+\()?\b(?P<name>[a-z_:][\w:]*)\{(?P<matchers>[^}]*)\}(?:\[(?P<range>[^\]]+)\])?")
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')


@dataclass(frozen=True)
class Selector:
    """One metric in an expression. function: what is called on it directly, range: its window; `` for none."""

    name: str
    matchers: dict[str, tuple[str, str]]
    function: str
    range: str


@dataclass(frozen=True)
class Target:
    """One query. where: the dashboard and the panel, for messages."""

    where: str
    panel: dict[str, Any]
    expression: str
    legend: str


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the panels that show something: all but the rows."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def all_panels() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every panel of every dashboard, with words that name it."""
    for name, dashboard in DASHBOARDS.items():
        for panel in panels(dashboard):
            yield f"{name}: {panel['title']}", panel


def all_targets() -> list[Target]:
    """Return every query of every dashboard."""
    return [
        Target(where, panel, target["expr"], target["legendFormat"])
        for where, panel in all_panels()
        for target in panel["targets"]
    ]


def selectors(expression: str) -> list[Selector]:
    """Return every metric that an expression selects."""
    return [
        Selector(
            found["name"],
            {label: (operator, value) for label, operator, value in MATCHER.findall(found["matchers"])},
            (found["before"] or "").removesuffix("("),
            found["range"] or "",
        )
        for found in SELECTOR.finditer(expression)
    ]


def without_selectors(expression: str) -> str:
    """Return what is left of an expression: functions, labels, numbers."""
    return SELECTOR.sub("", expression)
