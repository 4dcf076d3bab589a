"""`tcptrace report FILE --connection`: one connection, both directions beside each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import BinaryIO

from tracer.commands.recorded import open_recording, parse_without_rights, require
from tracer.errors import TcptraceError
from tracer.ingest.decode import Events
from tracer.ingest.recording import RecordedSource
from tracer.ingest.source import Context
from tracer.kernel.callersfile import open_as_caller
from tracer.model.dossier import Dossier, dossier
from tracer.model.oneconnection import OneConnection, ends_of, mirrored, named, overlapping, parse_wanted
from tracer.model.timesequence import time_sequence
from tracer.outputs.findings.connection import connection_document, connection_lines
from tracer.outputs.findings.xpl import xpl_lines


def show_connection(path: Path, text: str, *, as_json: bool, xpl: Path | None = None) -> None:
    """Print what a recording has of a connection; raises TcptraceError when it has none, or several.

    xpl: where the graph of the direction that carried more is written to.
    """
    wanted = parse_wanted(text)
    recorded = open_recording(path)
    graph_file = open_as_caller(xpl) if xpl else None
    parse_without_rights()
    try:
        context = recorded.context
        records = collect(recorded, wanted)
        if isinstance(wanted, int) and (end := mirrored(records)):
            recorded = recorded.again()
            records = overlapping(collect(recorded, end), wanted)
    finally:
        recorded.close()
    if not len(records):
        raise TcptraceError(f"{path} has no connection {text}", "see 'tcptrace replay FILE events' for those that it has")
    if (ends := ends_of(records)) is None:
        some = ", ".join(named(records))
        raise TcptraceError(
            f"{text} is the end of several connections", f"give the client's end, or the number of one: {some}, ..."
        )
    found = dossier(*ends, context)
    if graph_file:
        require(recorded, path, "segments")
        with graph_file:
            write_graph(graph_file, found, context)
    print(json.dumps(connection_document(found, context)) if as_json else "\n".join(connection_lines(found, context)))


def write_graph(file: BinaryIO, found: Dossier, context: Context) -> None:
    """Write the time-sequence graph of a connection; raises TcptraceError where the sender of it is not traced."""
    graph = time_sequence(found)
    if graph is None:
        raise TcptraceError("the end that has sent most is not traced", "record on its machine")
    file.truncate(0)
    title = connection_lines(found, context)[0 if graph.forward else 1]
    file.write("".join(f"{line}\n" for line in xpl_lines(graph, title, context.anchor_ns)).encode())


def collect(recorded: RecordedSource, wanted: int | tuple[bytes, int]) -> Events:
    """Return the records of a recording that match."""
    found = OneConnection(wanted)
    while (reading := recorded.read()) is not None:
        found.add(reading.events)
    return found.records
