"""Writes the three dashboards as JSON beside this file, or elsewhere: `python -m dashboards.generate [DIRECTORY]`.

Classic JSON (not Grafana's newer resource form) without __inputs, since that is what every Grafana imports and provisions.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from dashboards import connections, fleet, overview
from dashboards.panels import DATASOURCE, Dashboard

HERE = Path(__file__).resolve().parent
TAG = "tcptrace"


def _text(content: Dashboard) -> str:
    dashboard = _frame(content).build()
    for link in dashboard.links or ():
        link.placement = None  # type: ignore[assignment]  # the SDK's only value hides it in a menu
    return json.dumps(dashboard, cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"


def _frame(content: Dashboard) -> build.Dashboard:
    """Return a dashboard with its panels, which the builder lays out from left to right and numbers from 1."""
    dashboard = build.Dashboard(f"tcptrace / {content.title}").uid(f"tcptrace-{content.name}").tags([TAG])
    dashboard.description(content.description)
    dashboard.readonly().timezone("browser").time("now-1h", "now").refresh("30s").tooltip(model.DashboardCursorSync.CROSSHAIR)
    dashboard.variables([_datasource(), _labels("job", ""), _labels("instance", '{job=~"$job"}')])
    dashboard.link(_others())
    number = 0
    for title, panels in content.rows:
        number += 1
        dashboard.with_row(build.Row(title).id(number))
        for panel in panels:
            number += 1
            dashboard.with_panel(panel.id(number))
    return dashboard


def _datasource() -> build.DatasourceVariable:
    return build.DatasourceVariable("datasource").label("Data source").type("prometheus")


def _labels(name: str, matchers: str) -> build.QueryVariable:
    """Return the choice among the values of a label of tcptrace_build_info, which every run exports."""
    query = f"label_values(tcptrace_build_info{matchers}, {name})"
    variable = build.QueryVariable(name).label(name.capitalize()).datasource(DATASOURCE).query(query).definition(query)
    variable.multi(True).include_all(True).all_value(".+").current(model.VariableOption(text="All", value="$__all"))
    return variable.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(model.VariableSort.ALPHABETICAL_ASC)


def _others() -> build.DashboardLink:
    """Return the links to the other dashboards of the tag, with the same time and the same hosts."""
    link = build.DashboardLink("tcptrace").type(model.DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.keep_time(True).include_vars(True)


def main(directory: Path = HERE) -> None:
    """Write all dashboards into a directory."""
    for content in (overview.dashboard(), connections.dashboard(), fleet.dashboard()):
        (directory / f"tcptrace-{content.name}.json").write_text(_text(content), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
