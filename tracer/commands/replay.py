"""`tcptrace replay`: a recording through the same pipeline as live events, without any rights."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from tracer.commands import options
from tracer.commands.printing import FORMATS, Output, Printer, check_format, print_events, say_what_was_lost
from tracer.commands.run import DEFAULT_MAX_SERIES, print_summary
from tracer.commands.session import complain, give_up_rights, stop_on_signals
from tracer.commands.view import View, is_drawn
from tracer.errors import TcptraceError, UsageError
from tracer.ingest.chosen import Chosen
from tracer.ingest.recording import RecordedSource
from tracer.ingest.source import Source
from tracer.kernel.callersfile import open_to_read
from tracer.kernel.filters import Filters
from tracer.kernel.privileges import unprivileged_user
from tracer.model.naming import Naming
from tracer.model.totals import Model
from tracer.outputs.web import http
from tracer.pipeline import Pipeline, Stop, ticks


def replay(
    context: typer.Context,
    file: options.Recording,
    speed: Annotated[
        float | None, typer.Option(min=0.001, metavar="X", help="1: as fast as it happened, 2: twice; default: at once.")
    ] = None,
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Serve /metrics and the page, also after the end, until Ctrl-C.")
    ] = None,
    events: Annotated[
        str | None, typer.Option(metavar="|".join(FORMATS), help="Print its events instead, as 'tcptrace events' does.")
    ] = None,
    as_json: options.Json = False,
    view: options.View = None,
    label: options.Labels = None,
    peer_group: options.PeerGroupTexts = None,
    peer_rest: options.PeerRest = "network",
    max_series: options.MaxSeries = DEFAULT_MAX_SERIES,
    label_ttl: options.LabelTtl = options.DEFAULT_LABEL_TTL,
    web_config: options.WebConfig = None,
    port: options.Ports = None,
    address: options.Addresses = None,
    role: options.Role = None,
    pid: options.RecordedPid = None,
    netns: options.Netns = "all",
) -> None:
    """Show a recording: live view, summary and metrics as if it were happening; needs no rights.

    A filter chooses among its events; sockets and audit are of the whole machine, and are left out then.
    """
    filters = options.filters(port, address, role, None, None, netns)
    if events is not None:
        print_recorded(file, events, filters, pid)
        return
    if web_config and not listen:
        raise UsageError("--web-config is for what --listen serves", "give both")
    names, peers = options.labels(label, peer_group, peer_rest)
    ttl = options.seconds("--label-ttl", label_ttl) or None
    access = options.access(web_config)
    listener = http.bind(listen) if listen else None
    source = choose(open_recording(file), filters, pid)
    parse_without_rights(executes=speed is not None and is_drawn(view))
    exact = not isinstance(source, Chosen)
    model = Model(source.context, labels=names, naming=Naming(peers=peers), label_ttl=ttl, exact=exact)
    pipeline = Pipeline(source, model)
    server = http.serve(listener, pipeline.report, lambda: True, access=access, max_series=max_series) if listener else None
    if server:
        print(f"tcptrace: replaying {file}; metrics on {server.url}metrics", file=sys.stderr, flush=True)
    try:
        with stop_on_signals() as stop, View(stop, table=view if speed else False, color=context.obj) as shown:
            play(pipeline, stop, speed, shown)
            if server and not stop.is_set():
                shown.say("end of the recording", "still serving, Ctrl-C ends")
                for _ in ticks(stop, None, shown.pause):
                    shown.poll()
    finally:
        if server:
            server.close()
        pipeline.close()
        print_summary(pipeline.last_report(), as_json=as_json)
    stop.leave()


def print_recorded(path: Path, format_name: str, filters: Filters, pid: int | None) -> None:
    """Print the events of a recording, all at once; containers are not known, as their ids are those of another machine."""
    form = check_format("--events", format_name)
    source = choose(open_recording(path), filters, pid)
    parse_without_rights()
    try:
        with stop_on_signals() as stop:
            output = Output(stop)
            last = print_events(source, Printer(output, form, source.context), output, stop, every=0)
    finally:
        source.close()
    say_what_was_lost(last)
    stop.leave()


def parse_without_rights(*, executes: bool = False) -> None:
    """Give up all rights before the recording of a stranger is parsed; root becomes who called sudo, or nobody.

    Root that cannot become another user (in a container without CAP_SETUID) goes on as it is, and says so.
    """
    try:
        give_up_rights(unprivileged_user(None), executes=executes)
    except TcptraceError as error:
        complain(error)


def choose(source: Source, filters: Filters, pid: int | None) -> Source:
    """Return a recording's source with what the filters choose; as it is without filters. pid: of a process of then."""
    return source if filters == Filters() and pid is None else Chosen(source, filters, pid)


def open_recording(path: Path) -> RecordedSource:
    """Return the source of a file; raises TcptraceError when it cannot be read."""
    try:
        file = open_to_read(path)
    except OSError as error:
        raise TcptraceError(f"cannot read {path}: {error.strerror}", "give a file made by 'tcptrace record -o FILE'") from error
    try:
        return RecordedSource(file, str(path))
    except TcptraceError:
        file.close()
        raise


def play(pipeline: Pipeline, stop: Stop, speed: float | None, view: View) -> None:
    """Pump to the end, sleeping between readings as long as it took then, divided by speed; None neither sleeps nor shows."""
    began = time.monotonic()
    first_ns: int | None = None
    shown = 0.0
    while not stop.is_set() and (reading := pipeline.pump()) is not None:
        if not speed:
            continue
        first_ns = reading.time_ns if first_ns is None else first_ns
        elapsed = time.monotonic() - began
        if elapsed - shown >= 1:
            shown = elapsed
            view.show(pipeline.report())
        view.poll()
        for _ in ticks(stop, (reading.time_ns - first_ns) / 1e9 / speed - elapsed, view.pause):
            view.poll()
    if speed and not stop.is_set():
        view.show(pipeline.report())
