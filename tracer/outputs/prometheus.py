"""A Report in Prometheus's words for one scrape: text or OpenMetrics, by way of prometheus-client, or protobuf.

The library's ready-made metrics (Counter, Histogram) were the alternative: they count themselves, one Python call per event.
It writes no protobuf; protobuf.py does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.process_collector import ProcessCollector

from tracer.model.histogram import CLASSIC_BOUNDS, classic
from tracer.model.report import Report
from tracer.outputs import protobuf
from tracer.outputs.metrics import METRICS, PREFIX, HistogramMetric, Metric, label_names, present

BOUNDS = (*(str(bound) for bound in CLASSIC_BOUNDS), "+Inf")

TEXT = CONTENT_TYPE_PLAIN_0_0_4
OPENMETRICS = openmetrics.CONTENT_TYPE_LATEST
PROTOBUF = protobuf.CONTENT_TYPE


@dataclass(frozen=True)
class ReportCollector:
    """Prometheus-client's idea of a thing to scrape, over one Report and this process's own resources."""

    report: Report
    process: ProcessCollector

    def collect(self) -> Iterator[Family]:
        """Yield the families that have at least one sample."""
        for metric in METRICS:
            family = _family(metric, self.report)
            if family.samples:
                yield family
        yield from self.process.collect()


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
        if metric.optional:
            sample = family.samples.pop()
            family.samples.append(sample._replace(labels=present(metric, labels, values)))
    return family


def _histogram(metric: HistogramMetric, labels: tuple[str, ...], report: Report) -> Family:
    family = HistogramMetricFamily(PREFIX + metric.name, metric.help, labels=labels, unit="seconds")
    histogram, rows = metric.take(report)
    cumulative = classic(histogram)
    for row, values in rows:
        buckets = zip(BOUNDS, cumulative[row].tolist(), strict=True)
        family.add_metric(values, list(buckets), float(histogram.sums[row]))
    return family


def _info(metric: Metric, labels: tuple[str, ...], report: Report) -> Family:
    family = InfoMetricFamily(PREFIX + metric.name.removesuffix("_info"), metric.help)
    for values, _ in metric.take(report):
        family.add_metric([], dict(zip(labels, values, strict=True)))
    return family


def _unit(name: str) -> str:
    """Return the base unit that a metric's name ends in, `` for none."""
    last = name.removesuffix("_total").rpartition("_")[2]
    return last if last in {"seconds", "bytes"} else ""


_PROCESS = ProcessCollector(registry=CollectorRegistry())


def render(report: Report, content_type: str = TEXT) -> bytes:
    """Return the metrics of a Report in one of the three forms, TEXT, OPENMETRICS or PROTOBUF."""
    if content_type == PROTOBUF:
        return protobuf.render(report, _PROCESS.collect())
    collector = ReportCollector(report, _PROCESS)
    # All names are valid without escaping; saying so spares the library a look at every character, half of its time.
    if content_type == OPENMETRICS:
        return bytes(openmetrics.generate_latest(collector, escaping=openmetrics.ALLOWUTF8))  # type: ignore[no-untyped-call]
    return generate_latest(collector, escaping=openmetrics.ALLOWUTF8)
