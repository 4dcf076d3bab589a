"""`replay FILE`: the live view, the metrics and the summary of `run`, of a recording."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tracer.commands import options
from tracer.commands.recorded import become_unprivileged, choose, open_recording
from tracer.commands.serving import Kept, shipped_files
from tracer.commands.session import stop_on_signals
from tracer.commands.tracing import print_summary
from tracer.commands.view import Latest, View
from tracer.errors import UsageError
from tracer.ingest.chosen import Chosen
from tracer.ingest.recording import RecordedSource
from tracer.ingest.source import Source
from tracer.kernel.filters import Filters
from tracer.model.naming import Naming, numbered
from tracer.model.peers import PeerGroups
from tracer.model.report import Report
from tracer.model.totals import Model
from tracer.outputs.web import http
from tracer.outputs.web.listening import bind
from tracer.pipeline import Pipeline, StopRequest, ticks


@dataclass(frozen=True)
class RunOptions:
    """What the options of `replay` say about how a recording is shown; see options.py. speed: None for all at once."""

    as_json: bool
    speed: float | None
    listen: str | None
    view: bool | None
    color: bool | None
    labels: tuple[str, ...]
    peers: PeerGroups
    label_ttl: float | None
    max_series: int
    web_config: Path | None


def replay_run(file: Path, filters: Filters, pid: int | None, shown: RunOptions) -> None:
    """Show all of a recording as `run` does, and its summary; serve until Ctrl-C where that was asked for."""
    if shown.web_config and not shown.listen:
        raise UsageError("--web-config is for what --listen serves", "give both")
    access, kept = options.access(shown.web_config), Kept()
    files = shipped_files() if shown.listen else {}
    serve = partial(http.serve, access=access, max_series=shown.max_series, past=lambda: kept.spans, files=files)
    listener = bind(shown.listen) if shown.listen else None
    recorded = open_recording(file)
    source = choose(recorded, filters, pid)
    become_unprivileged()
    latest = Latest() if shown.speed and shown.view is not False else None
    pipeline = Pipeline(source, model_of(recorded, source, shown), latest)
    server = serve(listener, pipeline.report, lambda: True) if listener else None
    if server:
        print(f"tcptrace: replaying {file}; metrics on {server.url}metrics", file=sys.stderr, flush=True)
    play_all(pipeline, server, shown, latest, kept, partial(say_what_is_missing, recorded))


def model_of(recorded: RecordedSource, source: Source, shown: RunOptions) -> Model:
    """Return the model of what is chosen of a recording, with the labels that were asked for."""
    naming = Naming(recorded.whose if recorded.context.start_ns else numbered, recorded.named, shown.peers)
    exact = not isinstance(source, Chosen)
    return Model(source.context, labels=shown.labels, naming=naming, label_ttl=shown.label_ttl, exact=exact)


def play_all(
    pipeline: Pipeline,
    server: http.Server | None,
    shown: RunOptions,
    latest: Latest | None,
    kept: Kept,
    say_more: Callable[[Report], None],
) -> None:
    """Play to the end, and then serve on where there is a server; the summary comes last, in any case.

    say_more: is called behind a summary of the whole recording.
    """
    table, stopped = shown.view if shown.speed else False, False
    try:
        with stop_on_signals() as stop, View(stop, table=table, color=shown.color, latest=latest) as view:
            play(pipeline, stop, shown.speed, view, kept.beside(view.show, view))
            stopped = stop.is_set()
            if server and not stop.is_set():
                view.say("end of the recording", "still serving, Ctrl-C ends")
                for _ in ticks(stop, None, view.pause):
                    view.poll()
    finally:
        if server:
            server.close()
        pipeline.close()
        report = pipeline.last_report()
        print_summary(report, as_json=shown.as_json)
        if not stopped:
            say_more(report)
    stop.leave()


def say_what_is_missing(recorded: RecordedSource, report: Report) -> None:
    """Say when the bytes of open connections are not those of the end, as the recording has no figures from then."""
    if recorded.figures_ended or report.snapshot is None or not report.snapshot.open:
        return
    age = report.figures_age_seconds
    how = "not at all" if age is None else f"up to {age:.0f} s before its end, as it was cut off"
    print(f"tcptrace: {recorded.name} tells what open connections carried {how}", file=sys.stderr)


def play(pipeline: Pipeline, stop: StopRequest, speed: float | None, view: View, show: Callable[[Report], None]) -> None:
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
