"""`tcptrace connections`: the open connections one by one, from two looks at the kernel's own list; nothing is traced."""

from __future__ import annotations

import os
import sys
import time
from typing import Annotated

import typer

from tracer.commands import optiongroups, options
from tracer.commands.listed import LIST_FORMATS, check_sort, list_text
from tracer.commands.optiongroups import grouped
from tracer.errors import TcptraceError
from tracer.ingest.cgroups import cgroups_below
from tracer.ingest.namespaces import Namespaces
from tracer.ingest.owners import find_owners, inodes_of
from tracer.ingest.snapshot import Dump
from tracer.kernel.filters import Filters
from tracer.kernel.handles import open_handles
from tracer.kernel.launch import require_descriptors
from tracer.kernel.machine import proc_obstacle
from tracer.model.openlist import SORTS, OpenList, rows_of
from tracer.model.openservices import OPEN_STATES
from tracer.model.tcp import STATE
from tracer.outputs.openlines import CSV_HEAD

BETWEEN_SECONDS = 1.0
"""Between two looks."""

CLEAR = "\x1b[H\x1b[2J"
LISTED_STATES = sum(1 << state for state in (*OPEN_STATES, STATE["listen"]))
"""Bits: open connections, and listeners, which tell whose side is the service's."""


@grouped(filters=optiongroups.filters)
def connections(
    sort: Annotated[
        str, typer.Option(metavar="KEY", help=f"Which come first: {', '.join(SORTS)}; wrong: those that are held up.")
    ] = "wrong",
    count: Annotated[int | None, typer.Option(metavar="N", min=1, help="So many; default: 20 in the table, else all.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every second until Ctrl-C.")] = False,
    format_name: Annotated[
        str, options.format_option(LIST_FORMATS, "table: for people; json: an object for each look; csv.")
    ] = "table",
    *,
    filters: Filters,
) -> None:
    """Show open connections: process, peer, rates, round-trip time, retransmitted share, queues, and why they are slow.

    Rates are between two looks, a second apart. Root sees all network namespaces and processes, others what ss shows them.
    JSON and CSV have the age of those that have carried nothing one way, and a least age of all: the kernel tells no more.
    """
    check_sort(sort)
    filters.check_here()
    namespaces = open_sockets(own_only=filters.own_netns)
    try:
        first = namespaces.read(LISTED_STATES)
        if format_name == "csv":
            print(CSV_HEAD)
        clears = watch and format_name == "table" and sys.stdout.isatty()
        while True:
            time.sleep(BETWEEN_SECONDS)
            second = namespaces.read(LISTED_STATES)
            print(CLEAR if clears else "", end="")
            show(first, second, filters, sort=sort, count=count, format_name=format_name)
            if not watch:
                break
            first = second
    finally:
        namespaces.close()


def open_sockets(*, own_only: bool, later: bool = False) -> Namespaces:
    """Return the sockets of the namespaces that are seen; raises TcptraceError when the kernel does not list them.

    later: see Namespaces.
    """
    if obstacle := proc_obstacle():
        raise obstacle
    require_descriptors()
    handles = open_handles(own_only=own_only)
    if not handles:
        raise TcptraceError("cannot ask the kernel for its sockets", "it needs sock_diag: modprobe tcp_diag")
    if not own_only and os.geteuid() != 0:
        print("tcptrace: only root sees other network namespaces, and the processes of others", file=sys.stderr)
    return Namespaces(handles, later=later, with_details=True)


def show(first: Dump, second: Dump, filters: Filters, *, sort: str, count: int | None, format_name: str) -> None:
    """Write what two looks gave."""
    found = OpenList(rows_of(first, second, filters))
    if filters.cgroup is not None:
        found.keep(found.in_cgroups(cgroups_below(filters.cgroup)))
    if filters.pid is not None:
        found.keep(found.of_inodes(inodes_of(filters.pid)))
    text = list_text(found, lambda inodes: find_owners(inodes)[0], sort=sort, count=count, format_name=format_name)
    print(text, flush=True)
