"""`tcptrace events`: one line per event, as it happens."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from tracer.commands import optiongroups, options
from tracer.commands.optiongroups import grouped
from tracer.commands.printing import FORMATS, KINDS, Output, Printer, check_format, check_kinds, print_events, say_what_was_lost
from tracer.commands.session import announce, open_kernel, stop_on_signals
from tracer.ingest.cgroups import CgroupNames
from tracer.kernel.filters import Filters
from tracer.kernel.launch import Loading
from tracer.kernel.settings import Settings
from tracer.pipeline import POLL_SECONDS


@grouped(filters=optiongroups.filters)
def events(
    context: typer.Context,
    kind: Annotated[
        list[str] | None, typer.Option(metavar="KIND", help=f"One of {', '.join(KINDS)} (repeatable); default: all but state.")
    ] = None,
    format_name: Annotated[
        str, options.format_option(tuple(FORMATS), "table: for people; json: an object a line; csv.")
    ] = "table",
    count: Annotated[int | None, typer.Option(metavar="N", min=1, help="Stop after so many events.")] = None,
    duration: options.Duration = None,
    user: options.UserName = None,
    *,
    filters: Filters,
) -> None:
    """Print a line for every handshake, failure, close, retransmission and reset, until Ctrl-C.

    The table leaves out what finds no room in 80 columns, and the middle of long addresses. JSON and CSV have everything.
    """
    start = time.monotonic()
    kinds, form = check_kinds(kind), check_format(format_name, color=options.is_colored(context))
    settings = Settings(filters, states="state" in kinds)
    source = open_kernel(Loading(settings), user)
    try:
        with stop_on_signals() as stop:
            announce(start, f"printing {', '.join(kinds)}", source.context.missing)
            output = Output(stop)
            printer = Printer(output, form, source.context, kinds=kinds, count=count, container=CgroupNames())
            last = print_events(source, printer, output, stop, duration=duration, every=POLL_SECONDS)
    finally:
        source.close()
    say_what_was_lost(last)
    stop.leave()
