"""`tcptrace snapshot`: the sockets as they are now, from the kernel's own list; nothing is traced."""

from __future__ import annotations

import json
import os

from tracer.commands import optiongroups, options
from tracer.commands.connections import open_sockets
from tracer.ingest.owners import find_owners
from tracer.model.survey import HALF_CLOSED_BITS, Survey, survey, wanted_inodes
from tracer.outputs.surveytext import survey_document, survey_lines

ROWS = {"table": 10, "json": 1000}


def snapshot(format_name: options.TableOrJson = "table", netns: options.Netns = "all", port: options.Ports = None) -> None:
    """Show the sockets as they are now: states, TIME_WAIT, ephemeral ports, CLOSE_WAIT by process, backlogs.

    Root sees all network namespaces and processes, others tcptrace's own namespace and their own processes. TIME_WAIT counts
    as use of an ephemeral port.
    """
    own_only = optiongroups.filters(port, netns=netns).own_netns
    found = look(port or [], own_only=own_only, rows=ROWS[format_name])
    print(json.dumps(survey_document(found)) if format_name == "json" else "\n".join(survey_lines(found)))


def look(ports: list[int], *, own_only: bool, rows: int) -> Survey:
    """Return the survey of this moment; raises TcptraceError when the kernel does not list its sockets."""
    namespaces = open_sockets(own_only=own_only, later=not own_only and os.geteuid() == 0)
    try:
        namespaces.look()
        dump = namespaces.read()
        heard = namespaces.read_last_heard(HALF_CLOSED_BITS)
    finally:
        namespaces.close()
    owners, hidden = find_owners(wanted_inodes(dump.sockets))
    return survey(dump, ports=ports, owners=owners, heard=heard, hidden=hidden, wanted=rows)
