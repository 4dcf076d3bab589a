"""`tcptrace report FILE --connection`: one connection, both directions beside each other."""

from __future__ import annotations

import json
from pathlib import Path

from tracer.commands.recorded import open_recording, parse_without_rights
from tracer.errors import TcptraceError
from tracer.ingest.decode import Events
from tracer.ingest.recording import RecordedSource
from tracer.model.dossier import dossier
from tracer.model.oneconnection import OneConnection, ends_of, mirrored, named, overlapping, parse_wanted
from tracer.outputs.findings.connection import connection_document, connection_lines


def show_connection(path: Path, text: str, *, as_json: bool) -> None:
    """Print what a recording has of a connection; raises TcptraceError when it has none, or several."""
    wanted = parse_wanted(text)
    recorded = open_recording(path)
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
    print(json.dumps(connection_document(found, context)) if as_json else "\n".join(connection_lines(found, context)))


def collect(recorded: RecordedSource, wanted: int | tuple[bytes, int]) -> Events:
    """Return the records of a recording that match."""
    found = OneConnection(wanted)
    while (reading := recorded.read()) is not None:
        found.add(reading.events)
    return found.records
