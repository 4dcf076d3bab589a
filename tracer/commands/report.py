"""`tcptrace report`: what has happened, in a recording or of the next seconds."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from tracer.commands import options
from tracer.commands.oneconnection import show_connection
from tracer.commands.recorded import choose, open_recording, parse_without_rights
from tracer.commands.session import announce, open_kernel, stop_on_signals
from tracer.errors import UsageError
from tracer.ingest.source import Source
from tracer.kernel.filters import Filters
from tracer.kernel.programs import Settings
from tracer.model.findings import Search
from tracer.outputs.findings.document import report_document
from tracer.outputs.findings.table import report_lines
from tracer.pipeline import IDLE_SECONDS, Stop, ticks

FORMATS = ("table", "json")
DEFAULT_SECONDS = 10.0
PROGRESS_SECONDS = 1.0

File = Annotated[
    Path | None,
    typer.Argument(metavar="[FILE]", readable=False, show_default=False, help="A recording; else this machine."),
]
Seconds = Annotated[
    float | None, typer.Option("--duration", metavar="S", min=0.001, help="How long to trace without a FILE; default: 10.")
]
Connection = Annotated[
    str | None,
    typer.Option(metavar="ID|ADDRESS:PORT", help="One connection of FILE in two columns: its number, or an end."),
]
Xpl = Annotated[
    Path | None,
    typer.Option(metavar="FILE", show_default=False, help="With --connection: its time-sequence graph for xplot, into FILE."),
]
FormatName = Annotated[str, typer.Option("--format", metavar="|".join(FORMATS), help="For people, or one JSON object.")]


def report(
    file: File = None,
    duration: Seconds = None,
    format_name: FormatName = "table",
    connection: Connection = None,
    xpl: Xpl = None,
    user: options.UserName = None,
    port: options.Ports = None,
    address: options.Addresses = None,
    role: options.Role = None,
    pid: options.Pid = None,
    cgroup: options.Cgroup = None,
    netns: options.Netns = "all",
) -> None:
    """Report handshake times, failures, closes, retransmissions, peers and the connections that stand out.

    Of a recording, which needs no root, or of the next seconds. Of a recording a filter chooses among its events; the audit is
    of the whole machine, and is left out then.
    """
    check_form(format_name)
    if connection is not None:
        if file is None or duration is not None:
            raise UsageError("--connection is for a FILE", "record first: tcptrace record --segments -o FILE")
        show_connection(file, connection, as_json=format_name == "json", xpl=xpl)
        return
    if xpl is not None:
        raise UsageError("--xpl draws one connection", "give --connection, too")
    if file is None:
        show(trace(options.filters(port, address, role, pid, cgroup, netns), duration or DEFAULT_SECONDS, user), format_name)
        return
    if duration is not None:
        raise UsageError("--duration is for tracing, not for a FILE", "leave it out: all of the recording is reported")
    if cgroup is not None:
        raise UsageError("--cgroup is for tracing, not for a FILE", "record with --cgroup: ids of cgroups are of one machine")
    show_file(file, options.filters(port, address, role, None, None, netns), pid, format_name=format_name)


def check_form(name: str) -> None:
    """Raise UsageError for a format that there is not."""
    if name not in FORMATS:
        raise UsageError(f"--format {name} is not known", f"choose from {', '.join(FORMATS)}")


def show_file(path: Path, filters: Filters, pid: int | None, *, format_name: str) -> None:
    """Report a recording."""
    check_form(format_name)
    show(read_file(path, filters, pid), format_name)


def show(search: Search, format_name: str) -> None:
    """Print what was found."""
    found = search.findings()
    print(json.dumps(report_document(found)) if format_name == "json" else "\n".join(report_lines(found)))


def read_file(path: Path, filters: Filters, pid: int | None) -> Search:
    """Return what a recording has."""
    recorded = open_recording(path)
    source = choose(recorded, filters, pid)
    size = max(recorded.size, 1)
    parse_without_rights()
    search = Search(recorded.context)
    shown = time.monotonic()
    is_watched = os.isatty(sys.stderr.fileno())
    try:
        while (reading := source.read()) is not None:
            search.add(reading)
            if is_watched and time.monotonic() - shown >= PROGRESS_SECONDS:
                shown = time.monotonic()
                print(f"\rtcptrace: {recorded.position / size:.0%} read", end="\r", file=sys.stderr, flush=True)
    finally:
        source.close()
    return search


def trace(filters: Filters, seconds: float, user: str | None) -> Search:
    """Return what the next seconds have, or those until a signal."""
    start = time.monotonic()
    source = open_kernel(Settings(filters), user)
    search = Search(source.context)
    try:
        with stop_on_signals() as stop:
            stop.wake_on(source.filling)
            announce(start, f"tracing for {seconds:g} s; Ctrl-C ends it sooner", source.context.missing)
            _collect(source, search, stop, seconds)
    finally:
        source.close()
    return search


def _collect(source: Source, search: Search, stop: Stop, seconds: float) -> None:
    for _ in ticks(stop, seconds, lambda: IDLE_SECONDS):
        _take(source, search)
    _take(source, search)


def _take(source: Source, search: Search) -> None:
    if (reading := source.read()) is not None:
        search.add(reading)
