"""The files of dashboards/: made from the code beside them, whole, and importable as they are."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from tests.needs import ROOT
from tests.unit.dashboards.files import DASHBOARDS, FILES, panels

Dashboard = dict[str, Any]

TITLES = {
    "tcptrace-overview": "tcptrace / Overview",
    "tcptrace-connections": "tcptrace / Connections and ports",
    "tcptrace-fleet": "tcptrace / Fleet",
}
every_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)


def test_the_files_are_what_the_generator_writes(tmp_path: Path) -> None:
    # In a process of its own, because the SDK warns of Classic JSON when it is imported, and warnings are errors here.
    subprocess.run([sys.executable, "-m", "dashboards.generate", str(tmp_path)], cwd=ROOT, check=True, timeout=60)
    made = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_text(encoding="utf-8") for path in FILES}, "run: python -m dashboards.generate"


def test_each_dashboard_has_its_file_its_uid_and_its_title() -> None:
    assert {name: dashboard["title"] for name, dashboard in DASHBOARDS.items()} == TITLES
    assert {name: dashboard["uid"] for name, dashboard in DASHBOARDS.items()} == {name: name for name in TITLES}


@every_dashboard
def test_a_dashboard_asks_nothing_at_import(dashboard: Dashboard) -> None:
    assert not {key for key in dashboard if key.startswith("__")}
    assert dashboard.get("id") is None
    assert isinstance(dashboard["schemaVersion"], int)


@every_dashboard
def test_a_dashboard_opens_on_the_last_hour_and_keeps_itself_up_to_date(dashboard: Dashboard) -> None:
    assert dashboard["time"] == {"from": "now-1h", "to": "now"}
    assert dashboard["refresh"] == "30s"
    assert dashboard["timezone"] == "browser"


@every_dashboard
def test_a_dashboard_links_to_the_others_with_its_time_and_hosts(dashboard: Dashboard) -> None:
    (link,) = dashboard["links"]
    assert dashboard["tags"] == link["tags"] == ["tcptrace"]
    assert link["type"] == "dashboards"
    assert link["keepTime"]
    assert link["includeVars"]
    assert "placement" not in link


@every_dashboard
def test_every_panel_has_an_id_of_its_own(dashboard: Dashboard) -> None:
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert sorted(ids) == list(range(1, len(ids) + 1))


@every_dashboard
def test_panels_fill_the_width_and_do_not_overlap(dashboard: Dashboard) -> None:
    taken = {panel["title"]: cells(panel["gridPos"]) for panel in dashboard["panels"]}
    assert len(taken) == len(dashboard["panels"]), "two panels have one title"
    assert [(a, b) for a, b in combinations(taken, 2) if taken[a] & taken[b]] == []
    assert {x for found in taken.values() for x, _ in found} == set(range(24))


def cells(position: dict[str, int]) -> set[tuple[int, int]]:
    across = range(position["x"], position["x"] + position["w"])
    return {(x, y) for x in across for y in range(position["y"], position["y"] + position["h"])}


@every_dashboard
def test_panels_stand_in_rows(dashboard: Dashboard) -> None:
    assert dashboard["panels"][0]["type"] == "row"
    assert all(panel["panels"] == [] for panel in dashboard["panels"] if panel["type"] == "row")
    assert len(panels(dashboard)) < len(dashboard["panels"]) - 2


@every_dashboard
def test_heat_maps_show_the_buckets_that_they_are_given(dashboard: Dashboard) -> None:
    for panel in panels(dashboard):
        if panel["type"] == "heatmap":
            assert panel["options"]["calculate"] is False
            assert panel["options"]["yAxis"]["unit"] == "s"
            assert [target["format"] for target in panel["targets"]] == ["heatmap"]
            assert "sum by (le)" in panel["targets"][0]["expr"]


def test_a_host_leads_to_its_overview() -> None:
    fleet = str(DASHBOARDS["tcptrace-fleet"])
    assert "/d/tcptrace-overview?${__url_time_range}&var-datasource=${datasource}" in fleet
    assert "var-instance=${__data.fields.instance}" in fleet
    assert "var-instance=${__field.labels.instance}" in fleet
