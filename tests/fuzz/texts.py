"""Targets whose bytes come from people and from the network: event.h, recordings, web configurations, HTTP requests."""

from __future__ import annotations

import io
import json
import socket
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache
from itertools import chain
from pathlib import Path

from tests.unit.ingest.openconnections import open_rows, reading_with
from tests.unit.ingest.recordings import recorded, sample
from tests.unit.outputs.conftest import model_of_traffic
from tracer.commands.drawing import Follower, show_json
from tracer.errors import TcptraceError
from tracer.ingest.decode import LAYOUT
from tracer.ingest.recording import MAGIC, VERSION, RecordedSource
from tracer.ingest.source import Reading, Remains
from tracer.kernel.layout import parse_layout
from tracer.kernel.shipped import read_source
from tracer.model.findings import FindingsSearch
from tracer.model.follow.steps import Step
from tracer.model.summaryjson import summary_document
from tracer.model.totals import Model
from tracer.outputs.eventcsv import csv_lines
from tracer.outputs.eventtable import colored_lines
from tracer.outputs.findings.reportjson import report_document
from tracer.outputs.findings.reporttext import report_lines
from tracer.outputs.jsonl import describe, json_lines
from tracer.outputs.ladder import Style, ladder_lines
from tracer.outputs.lines import audit_lines, summary
from tracer.outputs.prometheus import render
from tracer.outputs.web.access import Access
from tracer.outputs.web.basicauth import Users
from tracer.outputs.web.configsection import parse
from tracer.outputs.web.http import _Connection, _Listener
from tracer.outputs.web.page import page
from tracer.outputs.web.pages import NO_FILES, Pages
from tracer.outputs.web.scrapes import Scrapes
from tracer.outputs.web.webconfig import SECTIONS, access_of

ALICE = "$2b$04$KZEd5ZmTDETEdAoHvVpEbe8.rsKZEYEefyDEpu4028ceO8qatSZQS"


def event_h(data: bytes) -> None:
    """Read a header as the loader does."""
    with suppress(TcptraceError):
        layout = parse_layout(data.decode(errors="replace"))
        assert layout.size % 8 == 0
        layout.assertions()


def event_h_seeds() -> list[bytes]:
    """Return the real one, and a small one."""
    return [read_source("event.h").encode(), b"enum a { B = 1, };\nstruct event { u64 time; u32 x[2]; };\n"]


def recording(data: bytes) -> None:
    """Read a file; or, behind a zero, frames that are made of the rest, so that the compression is no wall."""
    file = framed(data[1:]) if data[:1] == b"\0" else data
    with suppress(TcptraceError):
        source = RecordedSource(io.BytesIO(file), "a.tcptrace")
        first = source.read()  # the header before all else
        COMMANDS[data[-1] % len(COMMANDS)](source, chain([first], iter(source.read, None)) if first else [])


def _counted(source: RecordedSource, readings: Iterable[Reading]) -> None:
    model = Model(source.context)
    for reading in readings:
        model.add(reading)
    report = model.report()
    json.dumps(summary_document(report))
    "".join((*summary(report), *audit_lines(report), page(report))).encode()
    render(report)


def _printed(source: RecordedSource, readings: Iterable[Reading]) -> None:
    forms = (json_lines, csv_lines, colored_lines)
    for reading in readings:
        found = describe(reading.events, source.context.at(reading), lambda cgroup: source.whose(cgroup).name)
        "".join(chain.from_iterable(form(found) for form in forms)).encode()


def _reported(source: RecordedSource, readings: Iterable[Reading]) -> None:
    search = FindingsSearch(source.context)
    for reading in readings:
        search.add(reading)
    found = search.findings()
    json.dumps(report_document(found))
    report_lines(found)


def _followed(source: RecordedSource, readings: Iterable[Reading]) -> None:
    show = show_json(source.context, _Nowhere(), lambda cgroup: source.whose(cgroup).name)
    _follow(Follower(source.context, show, segments=True), readings)


def _drawn(source: RecordedSource, readings: Iterable[Reading]) -> None:
    _follow(Follower(source.context, _draw, segments=True), readings)


def _follow(follower: Follower, readings: Iterable[Reading]) -> None:
    for reading in readings:
        follower.take(reading)


Command = Callable[[RecordedSource, Iterable[Reading]], None]

COMMANDS: list[Command] = [_counted, _reported, _followed, _drawn, _printed]
"""What commands make of a recording, in this process; an input's last byte says which."""


class _Nowhere:
    def write(self, lines: Sequence[str]) -> None:
        """Make bytes of lines, and forget them."""
        "".join(lines).encode()


def _draw(_reading: Reading, steps: Sequence[Step], _remains: Sequence[Remains]) -> None:
    ladder_lines(steps, Style(explain=True))


_FRAME = struct.Struct("<BHQ")
_TAGS = (b"EVNT", b"NOTE", b"CELL", b"DIFF", b"OPEN", b"FIGS")


@cache
def _head() -> bytes:
    context = {"kernel": "6", "bcc": "0", "anchor_ns": 0, "netns": 1, "missing": [], "reset_reasons": {}, "reads": ""}
    header = json.dumps({"layout": LAYOUT.identity, "record_size": LAYOUT.size, "context": context}).encode()
    return struct.pack("<8sII", MAGIC, VERSION, len(header)) + header


def framed(data: bytes) -> bytes:
    """Return a recording whose frames have these tags, times and contents."""
    file, at = [_head()], 0
    while at + _FRAME.size <= len(data):
        tag, length, time_ns = _FRAME.unpack_from(data, at)
        packed = zlib.compress(data[at + _FRAME.size :][:length], 0)
        file.append(struct.pack("<4sIQ", _TAGS[tag % len(_TAGS)], len(packed), time_ns) + packed)
        at += _FRAME.size + length
    return b"".join(file)


def _unframed(file: bytes) -> bytes:
    length = struct.unpack_from("<8sII", file)[2]
    at, found = 16 + length, b"\0"
    while at < len(file):
        tag, size, time_ns = struct.unpack_from("<4sIQ", file, at)
        payload = zlib.decompress(file[at + 16 : at + 16 + size])
        found += _FRAME.pack(_TAGS.index(tag), len(payload), time_ns) + payload
        at += 16 + size
    return found


def recording_seeds() -> list[bytes]:
    """Return a whole recording, and its frames with more behind them, so that each command reads it."""
    looked = recorded([reading_with(open_rows(2, time_ns=9), 9)])
    frames = [_unframed(sample()) + bytes([command]) for command in range(len(COMMANDS))]
    return [sample(), *frames, _unframed(looked) + b"\0"]


PLACE = Path("/nonexistent/web.yml")


def web_config(data: bytes) -> None:
    """Read a configuration; the files that it names are not there."""
    with suppress(TcptraceError):
        access_of(parse(PLACE, data, SECTIONS))


def web_config_seeds() -> list[bytes]:
    """Return files with every section, and every kind of value."""
    return [
        b"tls_server_config:\n  cert_file: a\n  key_file: b\n  min_version: TLS12\n  cipher_suites: [A, B]\n",
        b"http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: deny\n",
        f"basic_auth_users:\n  alice: {ALICE}\n".encode(),
        b'a: !!timestamp 2001-01-01\nb: &x [1, 2.5, ~, true, "t"]\nc: *x\n? d\n: |\n  text\n',
    ]


@cache
def _listener() -> _Listener:
    report = model_of_traffic().report()
    access = Access(passwords=Users({"alice": ALICE.encode()}), headers={"X-Frame-Options": "deny"})
    pages = Pages(lambda: report, lambda: True, lambda: None, NO_FILES)
    return _Listener(socket.create_server(("127.0.0.1", 0)), Scrapes(lambda: report), pages, lambda: True, access, 1.0, 4)


def http(data: bytes) -> None:
    """Have the server answer what a client sends before it sends no more."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        theirs.send(data[:4096])
        theirs.shutdown(socket.SHUT_WR)
        with suppress(OSError):
            _Connection(ours, ("", 0), _listener())
        ours.shutdown(socket.SHUT_WR)
        theirs.settimeout(1)
        answer = theirs.recv(65536)
    assert not answer or answer.startswith((b"HTTP/1.", b"<!DOCTYPE", b"ok\n", b"unauthorized", b"not found", b"only GET")), (
        answer
    )


def http_seeds() -> list[bytes]:
    """Return requests."""
    get = b"GET /metrics HTTP/1.1\r\nHost: a\r\n"
    return [
        get + b"Accept: application/openmetrics-text;version=1.0.0,*/*;q=0.1\r\nAccept-Encoding: gzip;q=0.5\r\n\r\n",
        get + b"Authorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n" + get + b"Connection: close\r\n\r\n",
        b"HEAD /healthz?x HTTP/1.0\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
        b"GET /\r\n",
    ]
