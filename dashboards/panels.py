"""Panels as this project draws them: a title that names the figure, a description that begins with a question, queries, a look.

Grafana's SDK builds them, since it knows what the fields are called: Grafana passes over in silence whatever it does not know,
so that JSON written by hand is wrong without anybody noticing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import TypeVar

from grafana_foundation_sdk.builders import (
    common as build_common,
    dashboard as build,
    heatmap,
    prometheus,
    stat,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common, dashboard as model, heatmap as heatmap_model, prometheus as prometheus_model

DATASOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")

# What a host's name leads to, in a table's row and on a line of a graph.
TO_OVERVIEW = "/d/tcptrace-overview?${{__url_time_range}}&var-datasource=${{datasource}}&var-job={job}&var-instance={instance}"
FROM_ROW = TO_OVERVIEW.format(job="${__data.fields.job}", instance="${__data.fields.instance}")
FROM_LINE = TO_OVERVIEW.format(job="${__field.labels.job}", instance="${__field.labels.instance}")

Panel = timeseries.Panel | heatmap.Panel | stat.Panel | table.Panel
P = TypeVar("P", timeseries.Panel, heatmap.Panel, stat.Panel, table.Panel)
Steps = Sequence[tuple[float | None, str]]

GOOD: Steps = ((None, "green"),)
LOSSES: Steps = ((None, "green"), (1, "red"))


@dataclass(frozen=True)
class Query:
    """One question to Prometheus. legend: Grafana's template for a line's name. now: at the end of the time shown alone."""

    expression: str
    legend: str = ""
    now: bool = False


@dataclass(frozen=True)
class Column:
    """One column of numbers of a table, from a query that gives each row one."""

    name: str
    expression: str
    unit: str = "short"
    steps: Steps = GOOD


@dataclass(frozen=True)
class Dashboard:
    """What one file holds. name: the word in its file's name and uid. rows: their titles and panels, from the top."""

    name: str
    title: str
    description: str
    rows: Sequence[tuple[str, Sequence[Panel]]]


def lines(
    title: str,
    description: str,
    *queries: Query,
    unit: str,
    width: int = 12,
    steps: Steps = (),
    stacked: bool = False,
    logarithmic: bool = False,
    nothing: str = "No data",
    links_to_host: bool = False,
) -> timeseries.Panel:
    """Return a graph over time; steps are drawn as dashed lines, and each line links to its host on request."""
    panel = _filled(timeseries.Panel(), title, description, queries, unit=unit, width=width, height=8, nothing=nothing)
    panel.fill_opacity(30 if stacked else 8).show_points(common.VisibilityMode.AUTO).span_nulls(False)
    panel.legend(_legend())
    panel.tooltip(build_common.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
    if logarithmic:
        panel.scale_distribution(build_common.ScaleDistributionConfig().type(common.ScaleDistribution.LOG).log(10))
    else:
        panel.min(0)
    if steps:
        panel.thresholds(_thresholds(steps))
        panel.thresholds_style(build_common.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED))
    if stacked:
        panel.stacking(build_common.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    if links_to_host:
        panel.override_by_regexp("/.*/", [_link("Overview of ${__field.labels.instance}", FROM_LINE)])
    return panel


def a_second(what: str) -> str:
    """Return Grafana's unit for a rate of what is counted, with K or M where it is large: 1.2K handshakes/s."""
    return f"count:{what}/s"


def number(title: str, description: str, query: Query, *, unit: str, steps: Steps = GOOD, nothing: str = "none") -> stat.Panel:
    """Return one figure, coloured by its steps; with its course behind it, unless the query is for now alone."""
    panel = _filled(stat.Panel(), title, description, [query], unit=unit, width=4, height=4, nothing=nothing)
    panel.thresholds(_thresholds(steps)).color_mode(common.BigValueColorMode.VALUE)
    panel.graph_mode(common.BigValueGraphMode.NONE if query.now else common.BigValueGraphMode.AREA)
    return panel.reduce_options(build_common.ReduceDataOptions().calcs(["lastNotNull"])).min(0)


def heat(title: str, description: str, query: Query, *, nothing: str) -> heatmap.Panel:
    """Return a heat map of a histogram in seconds, a row for each of its buckets; the query is a spread()."""
    panel = _filled(heatmap.Panel(), title, description, [query], unit="s", width=12, height=8, nothing=nothing)
    panel.max_data_points(150).calculate(False).cell_gap(1).show_legend()
    panel.y_axis(heatmap.YAxisConfig().unit("s").axis_placement(common.AxisPlacement.LEFT))
    panel.cell_values(heatmap.CellValues().unit(a_second("connections")))
    panel.filter_values(heatmap.FilterValueRange().le(1e-9))
    panel.tooltip(heatmap.HeatmapTooltip().mode(common.TooltipDisplayMode.SINGLE).y_histogram(True).show_color_scale(False))
    scheme = heatmap.HeatmapColorOptions().mode(heatmap_model.HeatmapColorMode.SCHEME).scheme("Oranges").steps(64)
    return panel.color(scheme.scale(heatmap_model.HeatmapColorScale.EXPONENTIAL).exponent(0.5).fill("dark-orange"))


def rows(
    title: str, description: str, *columns: Column, labels: Mapping[str, str], width: int = 24, height: int
) -> table.Panel:
    """Return a table: labels (name, heading) first, in that order, then the columns; all rows with the same labels are one.

    A row that has an instance links to its host.
    """
    queries = [Query(column.expression, now=True) for column in columns]
    panel = _filled(table.Panel(), title, description, queries, unit="short", width=width, height=height, nothing="none")
    panel.min_width(100)  # Grafana's own 150 hides the last of eleven columns beyond the edge
    headings = {**labels, **{_value_of(i, columns): column.name for i, column in enumerate(columns)}}
    panel.with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
    panel.with_transformation(model.DataTransformerConfig(id_val="organize", options=_arranged(headings)))
    for column in columns:
        panel.override_by_name(column.name, _look_of(column))
    if "instance" in labels:
        panel.override_by_name(labels["instance"], [_link("Overview of this host", FROM_ROW)])
    return panel


def _legend() -> build_common.VizLegendOptions:
    legend = build_common.VizLegendOptions().display_mode(common.LegendDisplayMode.TABLE).show_legend(True)
    return legend.placement(common.LegendPlacement.BOTTOM).calcs(["mean", "max", "lastNotNull"]).sort_by("Max").sort_desc(True)


def _value_of(number: int, columns: Sequence[Column]) -> str:
    """Return what Grafana calls the value of a query: by its letter, unless it is the only one."""
    return "Value" if len(columns) == 1 else f"Value #{ascii_uppercase[number]}"


def _arranged(headings: Mapping[str, str]) -> dict[str, object]:
    order = {name: position for position, name in enumerate(headings)}
    return {"excludeByName": {"Time": True}, "indexByName": order, "renameByName": dict(headings)}


def _look_of(column: Column) -> list[model.DynamicConfigValue]:
    unit = model.DynamicConfigValue(id_val="unit", value=column.unit)
    if column.steps is GOOD:
        return [unit]
    colored = model.DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-text"})
    thresholds = model.DynamicConfigValue(id_val="thresholds", value=_thresholds(column.steps).build().to_json())
    return [unit, colored, thresholds]


def _filled(
    panel: P, title: str, description: str, queries: Sequence[Query], *, unit: str, width: int, height: int, nothing: str
) -> P:
    """Give a panel what every panel has."""
    panel.title(title).description(description).datasource(DATASOURCE)
    panel.unit(unit).no_value(nothing).span(width).height(height)
    for letter, query in zip(ascii_uppercase, queries, strict=False):
        panel.with_target(_target(letter, query, panel.build().type_val))
    return panel


def _target(letter: str, query: Query, panel_type: str) -> prometheus.Dataquery:
    target = prometheus.Dataquery().ref_id(letter).datasource(DATASOURCE).expr(query.expression).legend_format(query.legend)
    target.editor_mode(prometheus_model.QueryEditorMode.CODE)
    if panel_type == "heatmap":
        target.format(prometheus_model.PromQueryFormat.HEATMAP)
    elif panel_type == "table":
        target.format(prometheus_model.PromQueryFormat.TABLE)
    return target.instant() if query.now else target.range()


def _thresholds(steps: Steps) -> build.ThresholdsConfig:
    found = [model.Threshold(value=value, color=color) for value, color in steps]
    return build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(found)


def _link(title: str, url: str) -> model.DynamicConfigValue:
    return model.DynamicConfigValue(id_val="links", value=[{"title": title, "url": url}])
