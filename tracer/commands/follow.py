"""`tcptrace follow`: the life of each connection, drawn while it happens."""

from __future__ import annotations

import shutil
import sys
import time
from typing import Annotated

import typer

from tracer.commands import optiongroups, options
from tracer.commands.drawing import Follower, show_json, show_ladder
from tracer.commands.optiongroups import grouped
from tracer.commands.printing import Output, say_what_was_lost
from tracer.commands.session import announce, complain, open_kernel, stop_on_signals
from tracer.ingest.cgroups import CgroupNames
from tracer.ingest.remains import RemainsSource
from tracer.ingest.source import Reading
from tracer.kernel.filters import Filters
from tracer.kernel.launch import Loading
from tracer.kernel.settings import Settings
from tracer.outputs.ladder import Style
from tracer.pipeline import POLL_SECONDS, StopRequest

LAST_SECONDS = 1.0
"""How long the peer's FIN is awaited when all connections that were asked for have ended."""

FormatName = Annotated[str, options.format_option(options.TEXT_FORMATS, "text: a ladder; json: its events, an object a line.")]
Explain = Annotated[bool, typer.Option("--explain", help="Add a sentence on each step, and its RFC.")]
Segments = Annotated[bool, typer.Option("--segments", help="Every received segment too: cwnd, ssthresh, srtt, windows.")]
Ascii = Annotated[bool, typer.Option("--ascii", help="Draw with ASCII characters only.")]


@grouped(filters=optiongroups.filters)
def follow(
    context: typer.Context,
    format_name: FormatName = "text",
    explain: Explain = False,
    segments: Segments = False,
    ascii_only: Ascii = False,
    count: Annotated[int | None, typer.Option(metavar="N", min=1, help="Stop when N connections have ended.")] = None,
    duration: options.Duration = None,
    user: options.UserName = None,
    *,
    filters: Filters,
) -> None:
    """Draw each connection's life as it happens: handshake, data, retransmissions, close, TIME_WAIT, with all numbers.

    Solid arrows are what the kernel told, dotted ones what must have happened.
    JSON lines are those of 'events --format json', and of the kinds call and
    segment, with the connection's number and its sequence variables
    (send_unacknowledged, send_next, receive_next: RFC 9293, 3.3.1); and some of
    kind time_wait after the end: what goes on, and when that is over.
    """
    start = time.monotonic()
    style = style_of(context, ascii_only=ascii_only, explain=explain)
    source = RemainsSource(open_kernel(Loading(Settings(filters, follow=True, segments=segments)), user), complain)
    try:
        with stop_on_signals() as stop:
            announce(start, "following new connections", source.context.missing)
            output = Output(stop)
            json = format_name == "json"
            show = show_json(source.context, output, CgroupNames()) if json else show_ladder(output, style)
            follower = Follower(source.context, show, segments=segments, count=count)
            last = watch(source, follower, output, stop, duration)
    finally:
        source.close()
    say_the_end(last, follower)
    stop.leave()


def style_of(context: typer.Context, *, ascii_only: bool, explain: bool) -> Style:
    """Return how the ladder is drawn on this terminal."""
    color = options.is_colored(context)
    return Style(shutil.get_terminal_size().columns, ascii=ascii_only, color=color, explain=explain)


def say_the_end(last: Reading | None, follower: Follower) -> None:
    """Say on standard error what is not among what was shown."""
    say_what_was_lost(last)
    if follower.passed_over:
        print(f"tcptrace: {follower.passed_over} connections were not followed: too many at once; filter", file=sys.stderr)


def watch(
    source: RemainsSource, follower: Follower, output: Output, stop: StopRequest, duration: float | None
) -> Reading | None:
    """Show what comes until the follower is done, or stop or the duration says so, or nobody reads; return the last reading."""
    end = time.monotonic() + duration if duration is not None else float("inf")
    last, hurried = None, False
    while not (follower.all_ended and not source.waiting) and not output.gone:
        ending = stop.is_set() or time.monotonic() >= end
        last = source.read()
        if last is None:
            break
        follower.take(last)
        if ending:
            break
        if follower.all_ended and not hurried:
            source.hurry(LAST_SECONDS)
            hurried = True
        output.wait(min(POLL_SECONDS, max(end - time.monotonic(), 0)))
    return last
