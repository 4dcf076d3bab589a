"""A Report in Prometheus's words: text or OpenMetrics, for one scrape.

Prometheus-client was the alternative, and is what the tests compare with, byte by byte. It takes seven times as long, most of
it for finding the same label text anew for each of a histogram's 28 buckets; meanwhile the ring is not drained, as Python runs
one thread at a time. It still speaks for this process's own resources.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.utils import floatToGoString

from tracer.model.histogram import CLASSIC_BOUNDS
from tracer.model.report import Report
from tracer.outputs.metrics import METRICS, Buckets, HistogramMetric, Labels, Metric, Values, label_names

PREFIX = "tcptrace_"
BOUNDS = (*(str(bound) for bound in CLASSIC_BOUNDS), "+Inf")
EXPONENT_FROM = 1e6
"""From here on Go, and so Prometheus, writes numbers with an exponent; Python does later."""

TEXT = CONTENT_TYPE_PLAIN_0_0_4
OPENMETRICS = openmetrics.CONTENT_TYPE_LATEST

_PROCESS = ProcessCollector(registry=CollectorRegistry())


def render(report: Report, content_type: str = TEXT) -> bytes:
    """Return the metrics of a Report as text of that type, TEXT or OPENMETRICS."""
    lines: list[str] = []
    for metric in METRICS:
        if samples := list(_samples(metric, report)):
            lines += _head(metric, openmetrics=content_type == OPENMETRICS)
            lines += samples
    return "".join(lines).encode() + _own_resources(content_type)


def _own_resources(content_type: str) -> bytes:
    """Return the metrics process_*, and the end of the text."""
    if content_type == OPENMETRICS:
        return bytes(openmetrics.generate_latest(_PROCESS))  # type: ignore[no-untyped-call]
    return generate_latest(_PROCESS)


def _head(metric: Metric | HistogramMetric, *, openmetrics: bool) -> Iterator[str]:
    """Yield the lines that announce a metric; in OpenMetrics a family's name has no suffix, and its unit is told."""
    kind = "histogram" if isinstance(metric, HistogramMetric) else metric.type
    name = PREFIX + metric.name
    if openmetrics:
        name = name.removesuffix("_total").removesuffix("_info")
    elif kind == "info":
        kind = "gauge"
    yield f"# HELP {name} {metric.help}\n# TYPE {name} {kind}\n"
    if openmetrics and (unit := _unit(name)):
        yield f"# UNIT {name} {unit}\n"


def _unit(name: str) -> str:
    """Return the base unit that a family's name ends in, `` for none."""
    last = name.rpartition("_")[2]
    return last if last in {"seconds", "bytes"} else ""


def _samples(metric: Metric | HistogramMetric, report: Report) -> Iterator[str]:
    names = label_names(metric, report)
    if isinstance(metric, HistogramMetric):
        return _buckets(PREFIX + metric.name, names, metric.take(report))
    return _values(PREFIX + metric.name, names, metric.take(report))


def _values(name: str, names: Labels, values: Values) -> Iterator[str]:
    order = _order(names)
    for labels, value in values:
        text = _pairs(names, labels, order)
        yield f"{name}{{{text}}} {_number(value)}\n" if text else f"{name} {_number(value)}\n"


def _buckets(name: str, names: Labels, buckets: Buckets) -> Iterator[str]:
    """Yield a histogram's lines; `le` has its place among the labels by the alphabet, and the text around it is made once."""
    order = _order(names)
    before = [i for i in order if names[i] < "le"]
    after = [i for i in order if names[i] > "le"]
    for labels, cumulative, total in buckets:
        first, last = _pairs(names, labels, before), _pairs(names, labels, after)
        head = f'{name}_bucket{{{first}{"," if first else ""}le="'
        tail = f'"{"," if last else ""}{last}}} '
        for bound, count in zip(BOUNDS, cumulative, strict=True):
            yield f"{head}{bound}{tail}{_number(count)}\n"
        text = _pairs(names, labels, order)
        yield f"{name}_count{{{text}}} {_number(cumulative[-1])}\n{name}_sum{{{text}}} {_number(total)}\n"


def _order(names: Labels) -> list[int]:
    return sorted(range(len(names)), key=names.__getitem__)


def _pairs(names: Labels, labels: Labels, order: Sequence[int]) -> str:
    return ",".join([f'{names[i]}="{_escaped(labels[i])}"' for i in order])


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    if value < EXPONENT_FROM:
        return repr(float(value))
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]


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
