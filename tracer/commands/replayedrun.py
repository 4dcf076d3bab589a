"""`replay FILE`: the live view, the metrics and the summary of `run`, of a recording."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tracer.commands.latest import Latest
from tracer.commands.lineview import LineView, view_class
from tracer.commands.optiongroups import Shown
from tracer.commands.recorded import Pace, become_unprivileged, choose, open_recording
from tracer.commands.serving import Kept, shipped_files
from tracer.commands.session import Stop, stop_on_signals
from tracer.commands.tracing import print_summary
from tracer.errors import UsageError
from tracer.ingest.chosen import Chosen
from tracer.ingest.recording import RecordedSource
from tracer.kernel.filters import Filters
from tracer.model.naming import Naming, numbered
from tracer.model.report import Report
from tracer.model.totals import Model
from tracer.outputs.web import http
from tracer.outputs.web.listening import bind
from tracer.pipeline import Pipeline, StopRequest, ticks


def replay_run(file: Path, filters: Filters, shown: Shown, speed: float | None) -> None:
    """Show all of a recording as `run` does, and its summary; serve until Ctrl-C where that was asked for.

    speed: None for all at once.
    """
    series, kept = shown.series, Kept()
    if series.web_config and not shown.listen:
        raise UsageError("--web-config is for what --listen serves", "give both")
    labels, peers, access = series.labels(), series.peers(), series.access()
    files = shipped_files() if shown.listen else {}
    serve = partial(http.serve, access=access, max_series=series.max_series, past=lambda: kept.spans, files=files)
    listener = bind(shown.listen) if shown.listen else None
    recorded = open_recording(file)
    source = choose(recorded, filters)
    show_with = view_class(shown.view if speed else False)
    become_unprivileged()
    latest = Latest() if speed and shown.view is not False else None
    naming = Naming(recorded.whose if recorded.context.start_ns else numbered, recorded.named, peers)
    exact = not isinstance(source, Chosen)
    model = Model(source.context, labels=labels, naming=naming, label_ttl=series.label_ttl or None, exact=exact)
    pipeline = Pipeline(source, model, latest)
    server = serve(listener, pipeline.report, lambda: True) if listener else None
    if server:
        print(f"tcptrace: replaying {file}; metrics on {server.url}metrics", file=sys.stderr, flush=True)
    begin = partial(show_with, color=shown.color, latest=latest)
    play_all(pipeline, server, shown, speed, begin, kept, partial(say_what_is_missing, recorded))


def play_all(
    pipeline: Pipeline,
    server: http.Server | None,
    shown: Shown,
    speed: float | None,
    begin: Callable[[Stop], LineView],
    kept: Kept,
    say_more: Callable[[Report], None],
) -> None:
    """Play to the end, and then serve on where there is a server; the summary comes last, in any case.

    say_more: is called behind a summary of the whole recording.
    """
    stopped = False
    try:
        with stop_on_signals() as stop, begin(stop) as view:
            play(pipeline, stop, speed, view, kept.beside(view.show, view))
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


def play(pipeline: Pipeline, stop: StopRequest, speed: float | None, view: LineView, show: Callable[[Report], None]) -> None:
    """Pump to the end, sleeping between readings as long as it took then, divided by speed; None neither sleeps nor shows."""
    began, shown, pace = time.monotonic(), 0.0, Pace(speed)
    while not stop.is_set() and (reading := pipeline.pump()) is not None:
        if not speed:
            continue
        elapsed = time.monotonic() - began
        if elapsed - shown >= 1:
            shown = elapsed
            show(pipeline.report())
        view.poll()
        for _ in ticks(stop, pace.wait_for(reading), view.pause):
            view.poll()
    if speed and not stop.is_set():
        show(pipeline.report())
