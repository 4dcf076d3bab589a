"""Recordings made for tests, from readings to bytes and back."""

from __future__ import annotations

import functools
import io
import json
import struct
from collections.abc import Callable, Iterable
from dataclasses import replace

from tests.unit.model.builder import events, reading
from tracer.ingest.kernelcounters import KernelCounts
from tracer.ingest.plausible import MAX_NS
from tracer.ingest.recorder import Recorder, Rotating
from tracer.ingest.recording import MAGIC, VERSION, RecordedSource
from tracer.ingest.source import Context, Program, Reading
from tracer.ingest.workloads import Workload

CONTEXT = Context("6.18.0-rc1", "0.35.0", 1_763_850_000_000_000_000, 4026531833, ("IPv6",), {0: "NOT_SPECIFIED", 23: "ÄÖÜ"})
PROGRAMS = (Program("inet_sock_set_state", True, 23, 0.000046, 0), Program("tcp_send_reset", False, 0, 0.0, 5))
KERNEL_COUNTS = KernelCounts({"ActiveOpens": 23, "RtoMin": 200}, {"ActiveOpens": 24, "MaxConn": -1})


def some_readings() -> list[Reading]:
    return [
        reading(time_ns=1),
        reading(events("handshake", 3, handshake_ns=33_000), events("close", process=b"curl"), time_ns=2, cells={"partial": 5}),
        reading(time_ns=3, programs=PROGRAMS, sockets={"time_wait": 7}),
        reading(events("reset", error=-104), time_ns=MAX_NS, programs=PROGRAMS, sockets={"time_wait": 7}),
        reading(time_ns=5, cells={"events_lost": MAX_NS}),
        replace(reading(time_ns=6), kernel_counts=KERNEL_COUNTS),
        replace(reading(time_ns=7), kernel_counts=KERNEL_COUNTS),
        reading(time_ns=8),
    ]


def recorded(readings: list[Reading], context: Context = CONTEXT) -> bytes:
    file = io.BytesIO()
    recorder = Recorder(file, context)
    for one in readings:
        recorder.write(one)
    return file.getvalue()


def rotated(readings: Iterable[Reading], due: Callable[[int, int], bool]) -> list[bytes]:
    """Return what each file has, with readings written as `record --rotate` does."""
    files: list[io.BytesIO] = []

    def next_file() -> io.BytesIO:
        files.append(io.BytesIO())
        return files[-1]

    rotating = Rotating(next_file, CONTEXT, lambda _: Workload(), due)
    for one in readings:
        rotating.write(one)
    rotating.end()
    return [file.getvalue() for file in files]


@functools.cache
def sample() -> bytes:
    return recorded(some_readings())


def opened(data: bytes) -> RecordedSource:
    return RecordedSource(io.BytesIO(data), "a.tcptrace")


def read_all(source: RecordedSource) -> list[Reading]:
    found = []
    while (one := source.read()) is not None:
        found.append(one)
    return found


def same(a: Reading, b: Reading) -> bool:
    return (
        a.records.dtype == b.records.dtype
        and a.records.tobytes() == b.records.tobytes()
        and a.cells.tolist() == b.cells.tolist()
        and (a.time_ns, a.programs, a.snapshot, a.kernel_counts) == (b.time_ns, b.programs, b.snapshot, b.kernel_counts)
    )


def with_header(header: object) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return MAGIC + struct.pack("<II", VERSION, len(text)) + text


def header_of(data: bytes) -> dict[str, object]:
    length = struct.unpack_from("<I", data, 12)[0]
    return dict(json.loads(data[16 : 16 + length]))
