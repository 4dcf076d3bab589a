"""`tcptrace report FILE --connection`: one connection, both directions beside each other."""

from __future__ import annotations

import json
import time
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import BinaryIO

from tracer.commands.outputfile import written
from tracer.commands.recorded import become_unprivileged, open_recording, require
from tracer.commands.session import open_kernel
from tracer.commands.traced import take_for
from tracer.errors import TcptraceError, UsageError
from tracer.ingest.decode import Events
from tracer.ingest.recording import RecordedSource
from tracer.ingest.source import Context
from tracer.kernel.callersfile import unless_empty
from tracer.kernel.filters import Filters
from tracer.kernel.launch import Loading
from tracer.kernel.settings import Settings
from tracer.model.drawn import Drawn, drawn
from tracer.model.oneconnection import OneConnection, connection_names, mirrored, overlapping, parse_wanted
from tracer.model.timesequence import time_sequence
from tracer.outputs.findings.connection import connection_document, dossier_lines
from tracer.outputs.findings.connectionpage import connection_page
from tracer.outputs.findings.xpl import xpl_lines


def show_connection(path: Path, text: str, format_name: str, *, xpl: Path | None = None, output: Path | None = None) -> None:
    """Print what a recording has of a connection; raises TcptraceError when it has none, or several.

    xpl: where the graph of the direction that carried more is written to. output: a file instead of standard output.
    """
    wanted = parse_wanted(text)
    recorded = open_recording(path)
    with closing(recorded), written(output) as write, graph_of(xpl) as graph_file:
        become_unprivileged()
        records = both_ends(recorded, wanted)
        if not len(records):
            raise TcptraceError(f"{path} has no connection {text}", "see 'tcptrace replay FILE events' for those that it has")
        context = recorded.context
        found = only_one(records, context, text)
        if graph_file:
            require(recorded, path, "segments")
            write_graph(graph_file, found, context)
        write(connection_text(found, context, format_name))


def trace_connection(
    text: str,
    filters: Filters,
    seconds: float,
    user: str | None,
    format_name: str,
    *,
    xpl: Path | None = None,
    output: Path | None = None,
) -> None:
    """Print what the next seconds, or those until a signal, tell of a connection; as show_connection()."""
    start = time.monotonic()
    wanted = parse_wanted(text)
    if isinstance(wanted, int):
        raise UsageError("--connection by number is for a FILE", "give ADDRESS:PORT of an end; numbers are of one recording")
    with written(output) as write, graph_of(xpl) as graph_file:
        source = open_kernel(Loading(Settings(filters, follow=True, segments=True)), user)
        found = OneConnection(wanted)
        take_for(seconds, source, start, lambda reading: found.add(reading.events))
        if not len(found.records):
            raise TcptraceError(f"no segments from or to {text}", "trace for longer with --duration, or give another end")
        one = only_one(found.records, source.context, text)
        if graph_file:
            write_graph(graph_file, one, source.context)
        write(connection_text(one, source.context, format_name))


def graph_of(xpl: Path | None) -> AbstractContextManager[BinaryIO | None]:
    """Return the file of the graph, if one was asked for, as written() opens files."""
    return unless_empty(xpl) if xpl else nullcontext()


def both_ends(recorded: RecordedSource, wanted: int | tuple[bytes, int]) -> Events:
    """Return the records of what was asked for; by number, those of the other end, too, where the file can be read again."""
    records = collect(recorded, wanted)
    if isinstance(wanted, int) and recorded.is_seekable and (end := mirrored(records)):
        records = overlapping(collect(recorded.again(), end), wanted)
    return records


def only_one(records: Events, context: Context, text: str) -> Drawn:
    """Return what there is of the only connection among records; raises TcptraceError for several."""
    found = drawn(records, context)
    if found is None:
        some = ", ".join(connection_names(records))
        raise TcptraceError(
            f"{text} is the end of several connections", f"give the client's end, or the number of one: {some}, ..."
        )
    return found


def connection_text(found: Drawn, context: Context, format_name: str) -> str:
    """Return one connection in a format."""
    if format_name == "html":
        return connection_page(found, context)
    if format_name == "json":
        return json.dumps(connection_document(found.dossier, context))
    return "\n".join(dossier_lines(found.dossier, context))


def write_graph(file: BinaryIO, found: Drawn, context: Context) -> None:
    """Write the time-sequence graph of a connection; raises TcptraceError where the sender of it is not traced."""
    graph = time_sequence(found.dossier)
    if graph is None:
        raise TcptraceError("the end that has sent most is not traced", "record on its machine")
    file.truncate(0)
    title = dossier_lines(found.dossier, context)[0 if graph.forward else 1]
    file.write("".join(f"{line}\n" for line in xpl_lines(graph, title, context.anchor_ns)).encode())


def collect(recorded: RecordedSource, wanted: int | tuple[bytes, int]) -> Events:
    """Return the records of a recording that match."""
    found = OneConnection(wanted)
    while (reading := recorded.read()) is not None:
        found.add(reading.events)
    return found.records
