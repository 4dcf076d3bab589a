"""`tcptrace snapshot`: the sockets as they are now, from the kernel's own list; nothing is traced."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated

from tracer.commands import options
from tracer.errors import TcptraceError
from tracer.ingest.namespaces import Namespaces
from tracer.ingest.owners import find_owners
from tracer.kernel.handles import open_handles
from tracer.kernel.launch import require_descriptors
from tracer.kernel.machine import proc_obstacle
from tracer.model.survey import HALF_CLOSED_BITS, Survey, survey, wanted_inodes
from tracer.outputs.surveytext import survey_document, survey_lines

FORMATS = ("table", "json")
ROWS = {"table": 10, "json": 1000}


def snapshot(
    format_name: Annotated[str, options.format_option(FORMATS, "table: for people; json: one object.")] = "table",
    netns: options.Netns = "all",
    port: options.Ports = None,
) -> None:
    """Show the sockets as they are now: states, TIME_WAIT, ephemeral ports, CLOSE_WAIT by process, backlogs.

    Root sees all network namespaces and processes, others tcptrace's own namespace and their own processes. TIME_WAIT counts
    as use of an ephemeral port.
    """
    own_only = options.filters(port, None, None, None, None, netns).own_netns
    found = look(port or [], own_only=own_only, rows=ROWS[format_name])
    if not own_only and os.geteuid() != 0:
        print("tcptrace: only root sees other network namespaces, and the processes of others", file=sys.stderr)
    if format_name == "json":
        print(json.dumps(survey_document(found)))
    else:
        print("\n".join(survey_lines(found)))


def look(ports: list[int], *, own_only: bool, rows: int) -> Survey:
    """Return the survey of this moment; raises TcptraceError when the kernel does not list its sockets."""
    if obstacle := proc_obstacle():
        raise obstacle
    require_descriptors()
    handles = open_handles(own_only=own_only)
    if not handles:
        raise TcptraceError("cannot ask the kernel for its sockets", "it needs sock_diag: modprobe tcp_diag")
    namespaces = Namespaces(handles, later=not own_only and os.geteuid() == 0, with_details=True)
    try:
        namespaces.look()
        dump = namespaces.read()
        heard = namespaces.read_last_heard(HALF_CLOSED_BITS)
    finally:
        namespaces.close()
    owners, hidden = find_owners(wanted_inodes(dump.sockets))
    return survey(dump, ports=ports, owners=owners, heard=heard, hidden=hidden, wanted=rows)
