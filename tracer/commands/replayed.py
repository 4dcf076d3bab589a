"""What `replay FILE VERB` prints: the output of events, follow and audit, of a recording."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import typer

from tracer.commands.audit import audit_document, raise_drift
from tracer.commands.drawing import Follower, show_json, show_ladder
from tracer.commands.follow import LAST_SECONDS, say_the_end, style_of
from tracer.commands.options import TEXT_FORMATS, is_colored, known_format
from tracer.commands.printing import Output, Printer, check_format, check_kinds, print_events, say_what_was_lost
from tracer.commands.recorded import Paced, become_unprivileged, choose, open_recording, require
from tracer.commands.session import Stop, stop_on_signals
from tracer.ingest.recording import RecordedSource
from tracer.ingest.source import Reading, Source
from tracer.kernel.filters import Filters
from tracer.model.totals import Model
from tracer.outputs.lines import audit_lines
from tracer.pipeline import Pipeline


def opened(path: Path, filters: Filters) -> tuple[RecordedSource, Source]:
    """Return a recording, and of it what the filters choose, when all privileges are dropped."""
    recorded = open_recording(path)
    become_unprivileged()
    return recorded, choose(recorded, filters)


def container_names(recorded: RecordedSource) -> Callable[[int], str]:
    """Return what names the cgroups of the recorded machine."""
    return lambda cgroup: recorded.whose(cgroup).name


def replay_events(
    context: typer.Context,
    path: Path,
    filters: Filters,
    *,
    format_name: str,
    kinds: list[str] | None,
    count: int | None,
    speed: float | None,
) -> None:
    """Print the events of a recording."""
    form, wanted = check_format(format_name, color=is_colored(context)), check_kinds(kinds)
    recorded, source = opened(path, filters)
    try:
        with stop_on_signals() as stop:
            output = Output(stop)
            printer = Printer(output, form, source.context, kinds=wanted, count=count, container=container_names(recorded))
            last = print_events(Paced(source, speed, stop), printer, output, stop, every=0)
    finally:
        source.close()
    say_what_was_lost(last)
    stop.leave()


def replay_follow(
    context: typer.Context,
    path: Path,
    filters: Filters,
    *,
    format_name: str,
    explain: bool,
    segments: bool,
    ascii_only: bool,
    count: int | None,
    speed: float | None,
) -> None:
    """Draw the connections of a recording; raises TcptraceError for one that does not have what that takes."""
    known_format(format_name, TEXT_FORMATS)
    style = style_of(context, ascii_only=ascii_only, explain=explain)
    recorded, source = opened(path, filters)
    try:
        require(recorded, path, "segments" if segments else "follow")
        with stop_on_signals() as stop:
            output = Output(stop)
            json_asked = format_name == "json"
            show = show_json(source.context, output, container_names(recorded)) if json_asked else show_ladder(output, style)
            follower = Follower(source.context, show, segments=segments, count=count)
            last = draw(Paced(source, speed, stop), follower, output, stop)
    finally:
        source.close()
    say_the_end(last, follower)
    stop.leave()


def draw(source: Source, follower: Follower, output: Output, stop: Stop) -> Reading | None:
    """Show readings until the end, or shortly after as many connections have ended as were asked for; return the last."""
    last: Reading | None = None
    ended_ns: int | None = None
    while not output.gone and not stop.is_set() and (reading := source.read()) is not None:
        follower.take(reading)
        last = reading
        ended_ns = reading.time_ns if ended_ns is None and follower.all_ended else ended_ns
        if ended_ns is not None and reading.time_ns >= ended_ns + int(LAST_SECONDS * 1e9):
            break
    return last


def replay_audit(path: Path, *, as_json: bool) -> None:
    """Print our counts of a recording beside the kernel's; raises TcptraceError when they differ."""
    _, source = opened(path, Filters())
    pipeline = Pipeline(source, Model(source.context))
    try:
        while pipeline.pump() is not None:
            pass
    finally:
        pipeline.close()
    report = pipeline.report()
    print(json.dumps(audit_document(report)) if as_json else "\n".join(audit_lines(report)))
    raise_drift(report)
