"""`tcptrace replay`: a recording through the same pipeline as live events, unprivileged."""

from __future__ import annotations

from inspect import signature
from typing import Annotated

import typer

from tracer.commands import optiongroups, options
from tracer.commands.follow import Ascii, Explain, Segments
from tracer.commands.optiongroups import SeriesOptions, Shown, grouped
from tracer.commands.printing import KINDS
from tracer.commands.replayed import replay_audit, replay_events, replay_follow
from tracer.commands.replayedopen import replay_connections
from tracer.commands.replayedrun import replay_run
from tracer.commands.report import show_file
from tracer.errors import UsageError
from tracer.kernel.filters import Filters
from tracer.model.openlist import SORTS

RECORDED_FILTERS = set(signature(optiongroups.recorded_filters).parameters)
SERIES = set(signature(SeriesOptions).parameters)
VERBS = {
    "run": {"speed", "listen", "format_name", "view", *SERIES, *RECORDED_FILTERS},
    "events": {"speed", "format_name", "kind", "count", *RECORDED_FILTERS},
    "follow": {"speed", "format_name", "explain", "segments", "ascii_only", "count", *RECORDED_FILTERS},
    "audit": {"format_name"},
    "connections": {"format_name", "count", "sort", *RECORDED_FILTERS},
    "report": {"format_name", *RECORDED_FILTERS},
}
"""What can be asked for, and the options that mean something there."""

NOT_RECORDED = {
    "snapshot": "it has sums over the sockets, which 'replay FILE run' shows, but not which process has each of them open"
}
"""What the live command of that name would need and no recording keeps."""

ShownVerb = Annotated[
    str, typer.Argument(metavar="[VERB]", show_default=False, help=f"What to show: {', '.join(VERBS)}; default: run.")
]


Speed = Annotated[
    float | None, typer.Option(min=0.001, metavar="X", help="1: as fast as it happened, 2: twice; default: at once.")
]
FormatName = Annotated[
    str | None, typer.Option("--format", metavar="FORMAT", help="As the verb has it: text, table, json, csv, html.")
]
Kinds = Annotated[list[str] | None, typer.Option(metavar="KIND", help=f"events: one of {', '.join(KINDS)} (repeatable).")]
Count = Annotated[int | None, typer.Option(metavar="N", min=1, help="events, connections: so many; follow: until so many end.")]
Sort = Annotated[str, typer.Option(metavar="KEY", help=f"connections: which come first: {', '.join(SORTS)}.")]
Listen = Annotated[
    str | None, typer.Option(metavar="[HOST]:PORT", help="Serve /metrics and the page, also after the end, until Ctrl-C.")
]


@grouped(series=SeriesOptions, filters=optiongroups.recorded_filters)
def replay(
    context: typer.Context,
    file: options.Recording,
    verb: ShownVerb = "run",
    speed: Speed = None,
    format_name: FormatName = None,
    kind: Kinds = None,
    count: Count = None,
    sort: Sort = "wrong",
    explain: Explain = False,
    segments: Segments = False,
    ascii_only: Ascii = False,
    listen: Listen = None,
    view: options.LiveView = None,
    *,
    series: SeriesOptions,
    filters: Filters,
) -> None:
    """Show a recording as if it were happening: run's live view, summary and metrics, or the output of another VERB.

    No root needed. FILE may be - for standard input. A filter chooses among its events; sockets and audit are of the
    whole machine, and are left out then. Times are those of the recorded machine.
    """
    check_options(context, verb)
    text, table = format_name or "text", format_name or "table"
    if verb == "events":
        replay_events(context, file, filters, format_name=table, kinds=kind, count=count, speed=speed)
    elif verb == "follow":
        looks = {"explain": explain, "segments": segments, "ascii_only": ascii_only}
        replay_follow(context, file, filters, format_name=text, count=count, speed=speed, **looks)
    elif verb == "audit":
        replay_audit(file, as_json=options.known_format(table, options.TABLE_FORMATS) == "json")
    elif verb == "connections":
        replay_connections(file, filters, sort=sort, count=count, format_name=table)
    elif verb == "report":
        show_file(file, filters, format_name=table)
    else:
        as_json = options.known_format(text, options.TEXT_FORMATS) == "json"
        replay_run(file, filters, Shown(listen, series, view, context.obj, as_json), speed)


def check_options(context: typer.Context, verb: str) -> None:
    """Raise UsageError for a verb that there is not, and for options that mean nothing to it."""
    if verb in NOT_RECORDED:
        raise UsageError(f"a recording is not replayed as {verb}: {NOT_RECORDED[verb]}", f"choose from {', '.join(VERBS)}")
    if verb not in VERBS:
        raise UsageError(f"a recording is not replayed as {verb}", f"choose from {', '.join(VERBS)}")
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        given = source is not None and source.name not in {"DEFAULT", "DEFAULT_MAP"}
        own = option.param_type_name == "option" and option.expose_value  # and none that every command has
        if given and own and option.name not in VERBS[verb]:
            fits = [name for name, its in VERBS.items() if option.name in its]
            raise UsageError(f"{option.opts[0]} means nothing to {verb}", f"it is for {', '.join(fits)}")
