"""What a row of the table of metrics is, and which labels its samples have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tracer.model.report import Report
from tracer.outputs.samples import Labels, Rows, Values

PREFIX = "tcptrace_"

L = "L"
"""In a metric's labels: those of its series, role and port and what --label adds."""


@dataclass(frozen=True)
class Metric:
    """A counter, a gauge or an info, without the prefix tcptrace_.

    labels: names, L for those of the series. take: label values (of all those names) and the number.
    optional: those of the labels that a sample is without where their value is empty, so that most samples are.
    """

    name: str
    type: Literal["counter", "gauge", "info"]
    help: str
    labels: Labels
    take: Callable[[Report], Values]
    optional: Labels = ()


@dataclass(frozen=True)
class HistogramMetric:
    """A histogram in seconds, without the prefix tcptrace_; the fields are those of Metric."""

    name: str
    help: str
    labels: Labels
    take: Callable[[Report], Rows]


def label_names(metric: Metric | HistogramMetric, report: Report) -> Labels:
    """Return the names of a metric's labels in this report; with `left` at the end, which few samples have."""
    names = tuple(name for label in metric.labels for name in (report.series.names if label == L else (label,)))
    return (*names, "left") if "role" in names else names


def present(metric: Metric, names: Labels, values: Labels) -> dict[str, str]:
    """Return the labels that a sample has."""
    return {name: value for name, value in zip(names, values, strict=False) if value or name not in metric.optional}
