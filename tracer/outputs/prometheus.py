"""A Report in Prometheus's words: text or OpenMetrics, by way of prometheus-client, for one scrape.

The library's ready-made metrics (Counter, Histogram) were the alternative: they count themselves, one Python call per event.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.process_collector import ProcessCollector

from tracer.model.histogram import CLASSIC_BOUNDS
from tracer.model.report import Report
from tracer.outputs.metrics import METRICS, HistogramMetric, Metric, label_names

PREFIX = "tcptrace_"
BOUNDS = (*(str(bound) for bound in CLASSIC_BOUNDS), "+Inf")

TEXT = CONTENT_TYPE_PLAIN_0_0_4
OPENMETRICS = openmetrics.CONTENT_TYPE_LATEST


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
    """Return the base unit that a metric's name ends in, `` for none."""
    last = name.removesuffix("_total").rpartition("_")[2]
    return last if last in {"seconds", "bytes"} else ""


_PROCESS = ProcessCollector(registry=CollectorRegistry())


def render(report: Report, content_type: str = TEXT) -> bytes:
    """Return the metrics of a Report as text of that type, TEXT or OPENMETRICS."""
    collector = ReportCollector(report, _PROCESS)
    # All names are valid without escaping; saying so spares the library a look at every character, half of its time.
    if content_type == OPENMETRICS:
        return bytes(openmetrics.generate_latest(collector, escaping=openmetrics.ALLOWUTF8))  # type: ignore[no-untyped-call]
    return generate_latest(collector, escaping=openmetrics.ALLOWUTF8)


def negotiate(accept: str) -> str:
    """Return the content type that an Accept header prefers; TEXT when it names neither."""
    weights = dict(_weights(accept))
    wanted = weights.get("application/openmetrics-text", 0.0)
    return OPENMETRICS if wanted > 0 and wanted >= weights.get("text/plain", 0.0) else TEXT


def _weights(accept: str) -> Iterable[tuple[str, float]]:
    """Yield media types with their quality, the best one of a type last."""
    found = []
    for part in accept.split(","):
        media, *parameters = (piece.strip().lower() for piece in part.split(";"))
        found.append((media, _quality(parameters)))
    return sorted(found, key=lambda pair: pair[1])


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
