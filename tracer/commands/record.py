"""`tcptrace record`: the raw events into a file, for `tcptrace replay`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from tracer.commands import optiongroups, options
from tracer.commands.latest import Latest
from tracer.commands.lineview import LineView, view_class
from tracer.commands.optiongroups import grouped
from tracer.commands.rotation import KEPT, STDOUT, never_due, open_files, parse_rotation
from tracer.commands.session import complain, open_kernel, stop_on_signals, watch_sockets
from tracer.commands.terminal import is_drawn
from tracer.errors import TcptraceError, UsageError
from tracer.ingest.cgroups import CgroupNames
from tracer.ingest.netnames import NamespaceNames
from tracer.ingest.openrows import MOST_ROWS
from tracer.ingest.recorder import Rotating, Sparing
from tracer.ingest.remains import ASK_SECONDS, RemainsSource
from tracer.ingest.spool import Spool
from tracer.kernel.filters import Filters
from tracer.kernel.launch import Loading
from tracer.kernel.settings import Settings
from tracer.model.totals import Model
from tracer.pipeline import IDLE_SECONDS, Pipeline, drain

OutputFile = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE", show_default=False, help="The file to write; - for standard output.")
]
Follow = Annotated[bool, typer.Option("--follow", help="What 'replay FILE follow' needs, too.")]
KeptSegments = Annotated[bool, typer.Option("--segments", help="Every received segment, too; with all that --follow adds.")]
Keep = Annotated[int, typer.Option(metavar="N", min=2, max=1000, help="With --rotate: the last N files.")]
Rotate = Annotated[
    str | None,
    typer.Option(metavar="SIZE|TIME", show_default=False, help="Into FILE.1, FILE.2 and so on, each so large: 100M, 1h."),
]


@grouped(filters=optiongroups.filters)
def record(
    context: typer.Context,
    output: OutputFile,
    follow: Follow = False,
    segments: KeptSegments = False,
    rotate: Rotate = None,
    keep: Keep = KEPT,
    max_connections: options.MaxConnections = None,
    duration: options.Duration = None,
    view: options.LiveView = None,
    user: options.UserName = None,
    *,
    filters: Filters,
) -> None:
    """Record the raw events to a file until Ctrl-C; 'tcptrace replay FILE' shows them anywhere, unprivileged.

    What does not change is written once in ten seconds, so that an idle machine's recording hardly grows. With --rotate all N
    files are made at the start, since tcptrace is unprivileged later. When all are full, the oldest is overwritten.
    """
    due, show_with = parse_rotation(rotate) if rotate else never_due, view_class(view)
    if rotate and output == STDOUT:
        raise UsageError("--rotate is for files, not for standard output", "leave one of them out")
    settings = Settings(filters, max_connections=max_connections, snapshots=True, follow=follow or segments, segments=segments)
    with closing(open_files(output, keep if rotate else 0)) as files, said_as_failure(output):
        live = open_kernel(Loading(settings), user, with_cgroups=True)
        watch = watch_sockets(live, filters, rows=MOST_ROWS)
        source = RemainsSource(live, complain)
        writer = Rotating(files.next_file, source.context, CgroupNames().workload, due, NamespaceNames())
        sparing = Sparing(writer)
        spool = Spool(sparing, writer.flush, sparing.end)
        latest = Latest(spool) if is_drawn(view) else None
        pipeline = Pipeline(source if settings.follow else source.plain, Model(source.context), latest or spool, watch)
        with closing(pipeline), stop_on_signals() as stop:
            print(f"tcptrace: recording to {output}", file=sys.stderr, flush=True)
            stop.wake_on(source.filling)
            with show_with(stop, color=context.obj, latest=latest) as shown:
                drain(pipeline, stop, duration, shown.show, shown.poll, lambda: pause(source, shown))
            spool.close()
    print(f"{output}: {int(pipeline.report().events.sum())} events", file=sys.stderr if output == STDOUT else sys.stdout)
    stop.leave()


def pause(source: RemainsSource, shown: LineView) -> float:
    """Return the seconds until the next look, which is kept: soon while an ended connection is asked for."""
    return min(shown.pause(), ASK_SECONDS if source.waiting else IDLE_SECONDS)


@contextmanager
def said_as_failure(output: Path) -> Iterator[None]:
    """Turn what goes wrong while a file is written into a TcptraceError; a reader that has gone is none."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise TcptraceError(f"cannot write {output}: {error.strerror}", "what came before can be replayed") from error
