"""A Report in Prometheus's protobuf form, the only one that has native histograms; the classic buckets stand beside them.

The body is a sequence of io.prometheus.client.MetricFamily, each after its length; the numbers of the fields are those of
client_model's metrics.proto. They are written here, because the protobuf package would add 7 MB to a process of 54 MB that may
have 60: four kinds of field are all there is. The tests decode with that package.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from prometheus_client.metrics_core import Metric as Family

from tracer.model.histogram import CLASSIC_BOUNDS, classic
from tracer.model.native import SCHEMA, ZERO_THRESHOLD, native
from tracer.model.report import Report
from tracer.outputs.metrics import METRICS, PREFIX, HistogramMetric, Metric, label_names, present

CONTENT_TYPE = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"

COUNTER, GAUGE, HISTOGRAM = 0, 1, 4
_TYPES = {"counter": COUNTER, "gauge": GAUGE, "info": GAUGE}
_VALUE_FIELD = {COUNTER: 3, GAUGE: 2}

Labels = Sequence[tuple[str, str]]


def render(report: Report, others: Iterable[Family]) -> bytes:
    """Return the metrics of a Report, and other counters and gauges that prometheus-client collected."""
    messages = [*(_family(metric, report) for metric in METRICS), *map(_library_family, others)]
    return b"".join(_varint(len(message)) + message for message in messages if message)


def _family(metric: Metric | HistogramMetric, report: Report) -> bytes:
    """Return a MetricFamily, nothing for one without metrics."""
    names = label_names(metric, report)
    if isinstance(metric, HistogramMetric):
        return _message(metric.name, metric.help, HISTOGRAM, list(_histograms(metric, names, report)))
    kind = _TYPES[metric.type]
    metrics = [_plain(kind, list(present(metric, names, values).items()), number) for values, number in metric.take(report)]
    return _message(metric.name, metric.help, kind, metrics)


def _library_family(family: Family) -> bytes:
    kind = _TYPES[family.type]
    metrics = [_plain(kind, list(sample.labels.items()), sample.value) for sample in family.samples]
    name = family.samples[0].name if metrics else family.name
    return _message(name, family.documentation, kind, metrics, prefix="")


def _message(name: str, text: str, kind: int, metrics: Sequence[bytes], prefix: str = PREFIX) -> bytes:
    if not metrics:
        return b""
    head = _bytes(1, (prefix + name).encode()) + _bytes(2, text.encode()) + _integer(3, kind)
    return head + b"".join(_bytes(4, metric) for metric in metrics)


def _plain(kind: int, labels: Labels, number: float) -> bytes:
    return _labels(labels) + _bytes(_VALUE_FIELD[kind], _double(1, number))


def _labels(labels: Labels) -> bytes:
    return b"".join(_bytes(1, _bytes(1, name.encode()) + _bytes(2, value.encode())) for name, value in sorted(labels))


def _histograms(metric: HistogramMetric, names: Sequence[str], report: Report) -> Iterator[bytes]:
    histogram, rows = metric.take(report)
    cumulative = classic(histogram)
    for row, values in rows:
        *buckets, count = cumulative[row].tolist()
        whole = _integer(1, count) + _double(2, float(histogram.sums[row]))
        # the bucket without a bound is the histogram's count
        bounded = (_bytes(3, _integer(1, count) + bound) for count, bound in zip(buckets, _BOUNDS, strict=True))
        yield _labels(list(zip(names, values, strict=False))) + _bytes(
            7, whole + b"".join((*bounded, *_native(histogram.counts[row])))
        )


def _native(counts: NDArray[np.uint64]) -> Iterator[bytes]:
    """Yield the fields of a native histogram; it holds whole numbers, so that deltas are what it has, and no floats."""
    buckets = native(counts)
    yield _integer(5, _zigzag(SCHEMA)) + _double(6, ZERO_THRESHOLD) + _integer(7, buckets.zero)
    for offset, length in buckets.spans:
        yield _bytes(12, _integer(1, _zigzag(offset)) + _integer(2, length))
    yield _bytes(13, b"".join(_varint(_zigzag(delta)) for delta in buckets.deltas))


def _integer(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _double(field: int, number: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", number)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _zigzag(number: int) -> int:
    """Return a signed number as an unsigned one, in which those near zero are small."""
    return number << 1 if number >= 0 else ~(number << 1)


def _varint(number: int) -> bytes:
    """Return a number of at most 64 bits in groups of seven, the lowest first."""
    if number < 0x80:
        return _SMALL[number]
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


_SMALL = [bytes([number]) for number in range(0x80)]
_BOUNDS = [_double(2, bound) for bound in CLASSIC_BOUNDS]
