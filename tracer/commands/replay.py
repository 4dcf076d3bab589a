"""`tcptrace replay`: a recording through the same pipeline as live events, without any rights."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated

import typer

from tracer.commands import options
from tracer.commands.follow import Ascii, Explain, Segments
from tracer.commands.printing import FORMATS, KINDS
from tracer.commands.recorded import choose, open_recording, parse_without_rights
from tracer.commands.replayed import replay_audit, replay_events, replay_follow
from tracer.commands.report import show_file
from tracer.commands.run import DEFAULT_MAX_SERIES
from tracer.commands.serving import Kept, shipped_files
from tracer.commands.session import stop_on_signals
from tracer.commands.terminal import is_drawn
from tracer.commands.tracing import print_summary
from tracer.commands.view import Latest, View
from tracer.errors import UsageError
from tracer.ingest.chosen import Chosen
from tracer.model.naming import Naming, numbered
from tracer.model.report import Report
from tracer.model.totals import Model
from tracer.outputs.web import http
from tracer.outputs.web.listening import bind
from tracer.pipeline import Pipeline, Stop, ticks

FILTERS = {"port", "address", "role", "pid", "netns"}
VERBS = {
    "run": {"speed", "listen", "as_json", "view", "label", "peer_group", "peer_rest", "max_series", "label_ttl", "web_config"}
    | {"events", *FILTERS},
    "events": {"speed", "format_name", "kind", "count", *FILTERS},
    "follow": {"speed", "format_name", "explain", "segments", "ascii_only", "count", *FILTERS},
    "audit": {"as_json"},
    "report": {"format_name", *FILTERS},
}
"""What can be asked for, and the options that mean something there."""

_FIGURES = (
    "it has events and sums over the sockets, but not the figures of each open connection, which the kernel tells when asked"
)
NOT_RECORDED = {"connections": _FIGURES, "snapshot": _FIGURES}
"""What the live command of that name would need and no recording keeps."""

Verb = Annotated[
    str, typer.Argument(metavar="[VERB]", show_default=False, help=f"What to show: {', '.join(VERBS)}; default: run.")
]


def replay(
    context: typer.Context,
    file: options.Recording,
    verb: Verb = "run",
    speed: Annotated[
        float | None, typer.Option(min=0.001, metavar="X", help="1: as fast as it happened, 2: twice; default: at once.")
    ] = None,
    format_name: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="Of events, follow, report: as they have it themselves.")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option(metavar="KIND", help=f"events: one of {', '.join(KINDS)} (repeatable).")
    ] = None,
    count: Annotated[int | None, typer.Option(metavar="N", min=1, help="events: so many; follow: until so many end.")] = None,
    explain: Explain = False,
    segments: Segments = False,
    ascii_only: Ascii = False,
    listen: Annotated[
        str | None, typer.Option(metavar="[HOST]:PORT", help="Serve /metrics and the page, also after the end, until Ctrl-C.")
    ] = None,
    events: Annotated[
        str | None, typer.Option(metavar="|".join(FORMATS), help="The same as 'events --format', with every kind.")
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
    """Show a recording as if it were happening: run's live view, summary and metrics, or the output of another VERB.

    No rights are needed. FILE may be - for standard input. A filter chooses among its events; sockets and audit are of the
    whole machine, and are left out then. Times are those of the recorded machine.
    """
    check_options(context, verb)
    filters = options.filters(port, address, role, None, None, netns)
    if verb == "events":
        form = format_name or "table"
        replay_events(file, filters, pid, format_name=form, kinds=kind, count=count, speed=speed)
    elif events is not None:
        every = list(KINDS)
        replay_events(file, filters, pid, format_name=events, kinds=every, count=None, speed=speed, option="--events")
    elif verb == "follow":
        looks = {"explain": explain, "segments": segments, "ascii_only": ascii_only}
        replay_follow(context, file, filters, pid, format_name=format_name or "text", count=count, speed=speed, **looks)
    elif verb == "audit":
        replay_audit(file, as_json=as_json)
    elif verb == "report":
        show_file(file, filters, pid, format_name=format_name or "table")
    else:
        if web_config and not listen:
            raise UsageError("--web-config is for what --listen serves", "give both")
        names, peers = options.label_names(label, peer_group), options.peers(peer_group, peer_rest)
        access = options.access(web_config)
        kept = Kept()
        serve = partial(
            http.serve, access=access, max_series=max_series, past=lambda: kept.spans, files=shipped_files() if listen else {}
        )
        listener = bind(listen) if listen else None
        recorded = open_recording(file)
        source = choose(recorded, filters, pid)
        parse_without_rights(executes=speed is not None and is_drawn(view))
        naming = Naming(recorded.whose if recorded.context.start_ns else numbered, recorded.named, peers)
        exact = not isinstance(source, Chosen)
        latest = Latest() if speed and view is not False else None
        pipeline = Pipeline(
            source, Model(source.context, labels=names, naming=naming, label_ttl=label_ttl or None, exact=exact), latest
        )
        server = serve(listener, pipeline.report, lambda: True) if listener else None
        if server:
            print(f"tcptrace: replaying {file}; metrics on {server.url}metrics", file=sys.stderr, flush=True)
        play_all(context, pipeline, server, speed=speed, view=view, as_json=as_json, latest=latest, kept=kept)


def check_options(context: typer.Context, verb: str) -> None:
    """Raise UsageError for a verb that there is not, and for options that mean nothing to it."""
    if verb in NOT_RECORDED:
        raise UsageError(f"a recording is not replayed as {verb}: {NOT_RECORDED[verb]}", f"choose from {', '.join(VERBS)}")
    if verb not in VERBS:
        raise UsageError(f"a recording is not replayed as {verb}", f"choose from {', '.join(VERBS)}")
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        given = source is not None and source.name not in {"DEFAULT", "DEFAULT_MAP"}
        if given and option.param_type_name == "option" and option.name not in VERBS[verb]:
            fits = [name for name, its in VERBS.items() if option.name in its]
            raise UsageError(f"{option.opts[0]} means nothing to {verb}", f"it is for {', '.join(fits)}")


def play_all(
    context: typer.Context,
    pipeline: Pipeline,
    server: http.Server | None,
    *,
    speed: float | None,
    view: bool | None,
    as_json: bool,
    latest: Latest | None,
    kept: Kept,
) -> None:
    """Show all of a recording as `run` does, and its summary; serve until Ctrl-C where that was asked for."""
    try:
        with stop_on_signals() as stop, View(stop, table=view if speed else False, color=context.obj, latest=latest) as shown:
            play(pipeline, stop, speed, shown, kept.beside(shown.show, shown))
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


def play(pipeline: Pipeline, stop: Stop, speed: float | None, view: View, show: Callable[[Report], None]) -> None:
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
            show(pipeline.report())
        view.poll()
        for _ in ticks(stop, (reading.time_ns - first_ns) / 1e9 / speed - elapsed, view.pause):
            view.poll()
    if speed and not stop.is_set():
        show(pipeline.report())
