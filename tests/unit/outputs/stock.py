"""The same metrics by way of prometheus-client alone: what our own text is compared with, in content and in cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from tracer.model.report import Report
from tracer.outputs.metrics import METRICS, HistogramMetric, Metric, label_names
from tracer.outputs.prometheus import BOUNDS, PREFIX

PROCESS = ProcessCollector(registry=CollectorRegistry())


@dataclass(frozen=True)
class ReportCollector(Collector):
    """Prometheus-client's idea of a thing to scrape, over one Report and this process's own resources."""

    report: Report

    def collect(self) -> Iterator[Family]:
        """Yield the families that have at least one sample."""
        for metric in METRICS:
            family = _family(metric, self.report)
            if family.samples:
                yield family
        yield from PROCESS.collect()


def _family(metric: Metric | HistogramMetric, report: Report) -> Family:
    labels = label_names(metric, report)
    if isinstance(metric, HistogramMetric):
        return _histogram(metric, labels, report)
    if metric.type == "info":
        return _info(metric, labels, report)
    kind = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
    family = kind(PREFIX + metric.name, metric.help, labels=labels, unit=_unit(metric.name))
    for values, number in metric.take(report):
        family.add_metric(values, number)
    return family


def _histogram(metric: HistogramMetric, labels: tuple[str, ...], report: Report) -> Family:
    family = HistogramMetricFamily(PREFIX + metric.name, metric.help, labels=labels, unit="seconds")
    for values, cumulative, total in metric.take(report):
        family.add_metric(values, list(zip(BOUNDS, cumulative, strict=True)), total)
    return family


def _info(metric: Metric, labels: tuple[str, ...], report: Report) -> Family:
    family = InfoMetricFamily(PREFIX + metric.name.removesuffix("_info"), metric.help)
    for values, _ in metric.take(report):
        family.add_metric([], dict(zip(labels, values, strict=True)))
    return family


def _unit(name: str) -> str:
    last = name.removesuffix("_total").rpartition("_")[2]
    return last if last in {"seconds", "bytes"} else ""
