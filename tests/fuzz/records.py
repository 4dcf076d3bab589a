"""Targets whose bytes come from the kernel: the ring with all that follows it, sock_diag, BTF."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from tests.unit.ingest.netlink import INFO, diag, done, failure, message
from tests.unit.model.builder import CONTEXT, SECOND, events
from tracer.errors import TcptraceError
from tracer.ingest.aborts import settle
from tracer.ingest.decode import EVENT, LAYOUT
from tracer.ingest.plausible import BOUNDS
from tracer.ingest.ring import find
from tracer.ingest.sockdiag import last_heard, listeners_cgroups, normalize, parse_reply
from tracer.ingest.source import Reading
from tracer.ingest.transposed import together
from tracer.kernel.btf import Btf
from tracer.model.follow.followed import Followed
from tracer.model.report import Report
from tracer.model.tcp import KINDS
from tracer.model.totals import Model
from tracer.outputs.eventcsv import csv_lines
from tracer.outputs.eventtable import table_lines
from tracer.outputs.jsonl import Event, describe, json_lines
from tracer.outputs.ladder import Style, ladder_lines
from tracer.outputs.lines import interval, point, summary
from tracer.outputs.prometheus import OPENMETRICS, PROTOBUF, TEXT, render

RING_BYTES = 4096
_POSITIONS = struct.Struct("<HH")
_CELLS = np.zeros(LAYOUT.enums["counter"]["COUNTER_CELLS"], np.uint64)
Records = NDArray[np.void]
Output = Callable[[Records], object]


def ring(data: bytes) -> None:
    """Read a ring that holds these bytes; then show its records, or what a model makes of them, in the form the last byte says.

    Which of the records' members can be what is the programs' to see to: those are brought into their bounds.
    """
    if len(data) < _POSITIONS.size:
        return
    consumer, length = (number & ~7 for number in _POSITIONS.unpack_from(data))
    area = np.zeros(RING_BYTES, np.uint8)
    area[: len(data) - _POSITIONS.size] = np.frombuffer(data[_POSITIONS.size :][:RING_BYTES], np.uint8)
    found = find(area, consumer, consumer + min(length, RING_BYTES), EVENT)
    assert consumer <= found.position <= consumer + RING_BYTES
    if found.runs:
        OUTPUTS[data[-1] % len(OUTPUTS)](bounded(together(found.runs)))


def bounded(records: Records) -> Records:
    """Return records with the members that the programs bound within their bounds."""
    for name, (least, most) in BOUNDS.items():
        records[name] = np.clip(records[name], least, most)
    return records


def report_of(records: Records) -> Report:
    """Have a model take them in."""
    model = Model(CONTEXT, start_ns=0)
    model.add(Reading(records, _CELLS, SECOND))
    return model.report()


def _described(lines: Callable[[Sequence[Event]], list[str]]) -> Output:
    def check(records: Records) -> None:
        events_ = describe(settle(records), CONTEXT)
        assert len(lines(events_)) == len(events_)

    return check


def _rendered(records: Records) -> None:
    # of the outputs the slowest, and numbers alone differ: one form for each input, which its times choose
    render(report_of(records), FORMS[int(records["time_ns"][0]) % len(FORMS)])


OUTPUTS: list[Output] = [
    *map(_described, (json_lines, table_lines, csv_lines)),
    lambda records: ladder_lines(Followed({}, segments=True).add(records), Style(explain=True)),
    lambda records: summary(report_of(records)),
    lambda records: interval(point(report_of(records))),
    _rendered,
]
FORMS = (TEXT, OPENMETRICS, PROTOBUF)


def ring_seeds() -> list[bytes]:
    """Return a ring of a record of each kind, and one with several."""
    every = [events(kind) for kind in KINDS if kind]
    head = struct.pack("<II", EVENT.itemsize, 7)
    whole = [head + one.tobytes() for one in every]
    groups = [*([one] for one in whole), whole[:4], whole[4:8], whole[2:6]]  # each with another last byte: form
    return [_POSITIONS.pack(0, len(b"".join(group))) + b"".join(group) + bytes([at]) for at, group in enumerate(groups)]


def sock_diag(data: bytes) -> None:
    """Read a reply of netlink's."""
    with suppress(ValueError):
        reply = memoryview(data)
        sockets = normalize(parse_reply(reply, 1).sockets, 7)
        assert set(sockets["family"].tolist()) <= {4, 6}
        list(last_heard(reply, 1))
        list(listeners_cgroups(reply, 1))


def sock_diag_seeds() -> list[bytes]:
    """Return replies as the kernel writes them."""
    one, six = message(body=diag(attributes=INFO)), message(body=diag("fe80::1", "fe80::2", state=10))
    info = struct.pack("=HH", 64, 2) + bytes(60)
    return [one * 3, six + one, message(body=diag(attributes=info)), one + done(), failure(2), done(11)]


def btf(data: bytes) -> None:
    """Read types as libbpf gives them."""
    fd = os.memfd_create("btf")
    try:
        os.write(fd, data)
        types = Btf(f"/proc/self/fd/{fd}")
    except TcptraceError:
        return
    finally:
        os.close(fd)
    types.member("sock", "a.b")
    types.member("sock", "c")
    types.enumerators("e")
    types.tracepoint_arguments("x")
    types.has_name("a")
    types.close()


def btf_seeds() -> list[bytes]:
    """Return a small table of types: int, enum, struct with a struct in it, array, typedef of a pointer to a function."""
    names = b"\0int\0e\0v\0sock\0a\0b\0c\0btf_trace_x\0"

    def at(name: bytes) -> int:
        return names.index(b"\0" + name + b"\0") + 1

    def kind(number: int, length: int = 0) -> int:
        return number << 24 | length

    types = [
        (at(b"int"), kind(1), 4, 32),  # 1
        (at(b"e"), kind(6, 1), 4, at(b"v"), 5),  # 2
        (0, kind(4, 1), 4, at(b"b"), 1, 0),  # 3
        (0, kind(3), 0, 1, 1, 2),  # 4: int[2]
        (at(b"sock"), kind(4, 2), 12, at(b"a"), 3, 0, at(b"c"), 4, 32),  # 5
        (0, kind(13, 2), 0, 0, 1, 0, 1),  # 6: a function of two
        (0, kind(2), 6),  # 7
        (at(b"btf_trace_x"), kind(8), 7),  # 8
    ]
    body = b"".join(struct.pack(f"<{len(row)}I", *row) for row in types)
    return [struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(body), len(body), len(names)) + body + names]
