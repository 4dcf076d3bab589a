"""`tcptrace report`: what has happened, in a recording or of the next seconds."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from tracer.commands import optiongroups, options
from tracer.commands.oneconnection import show_connection, trace_connection
from tracer.commands.optiongroups import grouped
from tracer.commands.outputfile import written
from tracer.commands.recorded import become_unprivileged, choose, open_recording
from tracer.commands.session import open_kernel
from tracer.commands.traced import take_for
from tracer.commands.worstconnections import NEEDS_FILE, draw_worst
from tracer.errors import UsageError
from tracer.ingest.recording import RecordedSource
from tracer.kernel.filters import Filters
from tracer.kernel.launch import Loading
from tracer.kernel.settings import Settings
from tracer.model.drawn import Drawn
from tracer.model.findings import FindingsSearch
from tracer.outputs.findings.reportjson import report_document
from tracer.outputs.findings.reportpage import report_page
from tracer.outputs.findings.reporttext import report_lines

REPORT_FORMATS = ("table", "json", "html")
DEFAULT_SECONDS = 10.0
PROGRESS_SECONDS = 1.0

SomeRecording = Annotated[
    Path | None, typer.Argument(metavar="[FILE]", readable=False, show_default=False, help="A recording; else this machine.")
]
TracedSeconds = Annotated[
    float | None,
    typer.Option(
        "--duration",
        metavar="TIME",
        parser=options.duration_option("--duration"),
        help="How long to trace without a FILE: 90, 90s, 5m, 1h; default: 10s.",
    ),
]
OnlyConnection = Annotated[
    str | None, typer.Option(metavar="ID|ADDRESS:PORT", help="One connection in two columns: its number in FILE, or an end.")
]
Xpl = Annotated[
    Path | None,
    typer.Option(metavar="FILE", show_default=False, help="With --connection: its time-sequence graph for xplot, into FILE."),
]
OutputFile = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", show_default=False, help="Write into FILE, not to standard output."),
]
FormatName = Annotated[str, options.format_option(REPORT_FORMATS, "table: for people; json: one object; html: one page.")]


@grouped(filters=optiongroups.filters)
def report(
    file: SomeRecording = None,
    duration: TracedSeconds = None,
    format_name: FormatName = "table",
    connection: OnlyConnection = None,
    xpl: Xpl = None,
    output: OutputFile = None,
    user: options.UserName = None,
    *,
    filters: Filters,
) -> None:
    """Report handshake times, failures, closes, retransmissions, peers and the connections that stand out.

    Of a recording, which needs no root, or of the next seconds. Of a recording a filter chooses among its events; the audit is
    of the whole machine, and is left out then. --format html is one page with pictures, which loads nothing; of a recording
    made with --segments it draws the worst connections.
    """
    seconds, courses = duration or DEFAULT_SECONDS, format_name == "html"
    if file is not None:
        refuse_tracing(duration, filters.cgroup)
    if connection is not None and file is not None:
        show_connection(file, connection, format_name, xpl=xpl, output=output)
    elif connection is not None:
        trace_connection(connection, filters, seconds, user, format_name, xpl=xpl, output=output)
    elif xpl is not None:
        raise UsageError("--xpl draws one connection", "give --connection, too")
    elif file is not None:
        show_file(file, filters, format_name=format_name, output=output)
    else:
        with written(output) as write:
            write(report_text(trace_findings(filters, seconds, user, courses=courses), format_name))


def refuse_tracing(duration: float | None, cgroup: str | None) -> None:
    """Raise UsageError for what only tracing can do, of a FILE."""
    if duration is not None:
        raise UsageError("--duration is for tracing, not for a FILE", "leave it out: all of the recording is reported")
    if cgroup is not None:
        raise UsageError("--cgroup is for tracing, not for a FILE", "record with --cgroup: ids of cgroups are of one machine")


def show_file(path: Path, filters: Filters, *, format_name: str, output: Path | None = None) -> None:
    """Report a recording."""
    options.known_format(format_name, REPORT_FORMATS)
    with closing(open_recording(path)) as recorded, written(output) as write:
        search = read_file(recorded, filters, courses=format_name == "html")
        write(report_text(search, format_name, recorded))


def report_text(search: FindingsSearch, format_name: str, recorded: RecordedSource | None = None) -> str:
    """Return what was found in a format. recorded: where the worst connections can be looked up."""
    found = search.findings()
    if format_name == "json":
        return json.dumps(report_document(found))
    if format_name == "table":
        return "\n".join(report_lines(found))
    drawn: tuple[list[Drawn], str] = draw_worst(found, recorded) if recorded else ([], NEEDS_FILE)
    return report_page(found, *drawn)


def read_file(recorded: RecordedSource, filters: Filters, *, courses: bool) -> FindingsSearch:
    """Return what a recording has, which is read to its end."""
    source = choose(recorded, filters)
    size = max(recorded.size, 1)
    become_unprivileged()
    search = FindingsSearch(recorded.context, courses=courses)
    shown = time.monotonic()
    is_watched = os.isatty(sys.stderr.fileno())
    while (reading := source.read()) is not None:
        search.add(reading)
        if is_watched and time.monotonic() - shown >= PROGRESS_SECONDS:
            shown = time.monotonic()
            print(f"\rtcptrace: {recorded.position / size:.0%} read", end="\r", file=sys.stderr, flush=True)
    return search


def trace_findings(filters: Filters, seconds: float, user: str | None, *, courses: bool) -> FindingsSearch:
    """Return what the next seconds have, or those until a signal."""
    start = time.monotonic()
    source = open_kernel(Loading(Settings(filters)), user)
    search = FindingsSearch(source.context, courses=courses)
    take_for(seconds, source, start, search.add)
    return search
