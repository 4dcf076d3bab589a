"""Prometheus's protobuf form, decoded by the protobuf package; the messages are built from metrics.proto's public numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.internal.decoder import _DecodeVarint
from google.protobuf.message_factory import GetMessageClass

PACKAGE = "io.prometheus.client"

# Fields as `label type name = number`, as in client_model's metrics.proto; exemplars and timestamps are left out.
MESSAGES = {
    "LabelPair": ("string name 1", "string value 2"),
    "Gauge": ("double value 1",),
    "Counter": ("double value 1",),
    "Untyped": ("double value 1",),
    "Bucket": ("uint64 cumulative_count 1", "double upper_bound 2", "double cumulative_count_float 4"),
    "BucketSpan": ("sint32 offset 1", "uint32 length 2"),
    "Histogram": (
        "uint64 sample_count 1",
        "double sample_sum 2",
        "repeated Bucket bucket 3",
        "double sample_count_float 4",
        "sint32 schema 5",
        "double zero_threshold 6",
        "uint64 zero_count 7",
        "double zero_count_float 8",
        "repeated BucketSpan negative_span 9",
        "repeated sint64 negative_delta 10",
        "repeated double negative_count 11",
        "repeated BucketSpan positive_span 12",
        "repeated sint64 positive_delta 13",
        "repeated double positive_count 14",
    ),
    "Metric": (
        "repeated LabelPair label 1",
        "Gauge gauge 2",
        "Counter counter 3",
        "Untyped untyped 5",
        "int64 timestamp_ms 6",
        "Histogram histogram 7",
    ),
    "MetricFamily": ("string name 1", "string help 2", "int32 type 3", "repeated Metric metric 4", "string unit 5"),
}


def _file() -> FileDescriptorProto:
    file = FileDescriptorProto(name="metrics.proto", package=PACKAGE, syntax="proto2")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for text in fields:
            *repeated, kind, field, number = text.split()
            label = Field.LABEL_REPEATED if repeated else Field.LABEL_OPTIONAL
            added = message.field.add(name=field, number=int(number), label=label)
            if kind in MESSAGES:
                added.type, added.type_name = Field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
            else:
                added.type = getattr(Field, f"TYPE_{kind.upper()}")
    return file


def _message_class() -> Any:
    pool = DescriptorPool()
    pool.Add(_file())
    return GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.MetricFamily"))


MetricFamily = _message_class()


def families(body: bytes) -> Iterator[Any]:
    """Yield the families of a body; what is no whole message, or has a field that is not among those above, is an error."""
    at = 0
    while at < len(body):
        length, begin = _DecodeVarint(body, at)
        at = begin + length
        assert at <= len(body)
        family = MetricFamily.FromString(body[begin:at])
        known = MetricFamily.FromString(body[begin:at])
        known.DiscardUnknownFields()
        assert family.ByteSize() == known.ByteSize(), "a field that metrics.proto does not have"
        yield family


def labels_of(metric: Any) -> dict[str, str]:
    """Return the labels of a metric."""
    return {pair.name: pair.value for pair in metric.label}
