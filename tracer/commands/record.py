"""`tcptrace record`: the raw events into a file, for `tcptrace replay`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from tracer.commands import options
from tracer.commands.session import open_kernel, stop_on_signals
from tracer.commands.view import View, is_drawn
from tracer.errors import TcptraceError
from tracer.ingest.clock import kernel_ns
from tracer.ingest.recording import Recorder
from tracer.kernel.callersfile import open_as_caller
from tracer.kernel.programs import Settings
from tracer.model.totals import Model
from tracer.pipeline import Pipeline, drain


def record(
    context: typer.Context,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", show_default=False, help="The file to write.")],
    duration: options.Duration = None,
    view: options.View = None,
    user: options.UserName = None,
    port: options.Ports = None,
    address: options.Addresses = None,
    role: options.Role = None,
    pid: options.Pid = None,
    cgroup: options.Cgroup = None,
    netns: options.Netns = "all",
) -> None:
    """Record the raw events to a file until Ctrl-C; 'tcptrace replay FILE' shows them anywhere, without rights."""
    settings = Settings(options.filters(port, address, role, pid, cgroup, netns), snapshots=True)
    with open_as_caller(output) as file, said_as_failure(output):
        source = open_kernel(settings, user, with_cgroups=True, executes=is_drawn(view))
        file.truncate(0)
        pipeline = Pipeline(source, Model(source.context, start_ns=kernel_ns()), Recorder(file, source.context))
        print(f"tcptrace: recording to {output}", file=sys.stderr, flush=True)
        try:
            with stop_on_signals() as stop, View(stop, table=view, color=context.obj) as shown:
                stop.wake_on(source.filling)
                drain(pipeline, stop, duration, shown.show, shown.poll, shown.pause)
            file.flush()
        finally:
            pipeline.close()
    print(f"{output}: {int(pipeline.report().events.sum())} events")
    stop.leave()


@contextmanager
def said_as_failure(output: Path) -> Iterator[None]:
    """Turn what goes wrong while a file is written into a TcptraceError."""
    try:
        yield
    except OSError as error:
        raise TcptraceError(f"cannot write {output}: {error.strerror}", "what came before can be replayed") from error
