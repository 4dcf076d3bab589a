"""What every tracing command does around its own work: start the kernel side, give up rights, stop on a signal, show.

Rights are given up here, after everything that needs them was opened and everything that is imported was imported: from a
checkout in an unreadable home nothing could be imported afterwards.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Self

# numpy.unique asks for it by itself, at a moment when nothing can be imported any more
import numpy.ma  # noqa: F401
import typer
from rich.console import Console
from rich.live import Live

from tracer.errors import TcptraceError
from tracer.ingest.live import LiveSource
from tracer.ingest.watch import Namespaces, Watch
from tracer.kernel.launch import load_programs
from tracer.kernel.privileges import drop_privileges, unprivileged_user, unseen_without_rights
from tracer.kernel.programs import Settings
from tracer.model.older import older_connections
from tracer.model.report import Report
from tracer.model.sockets import Summarizer
from tracer.outputs.lines import interval
from tracer.outputs.table import table as live_table


def open_kernel(settings: Settings, user_name: str | None, look_every_ns: int = 1_000_000_000) -> LiveSource:
    """Load and attach, then become the unprivileged user; returns the source, raises TcptraceError.

    What has to be opened with rights (a listening socket below 1024, a file of root's) is opened before.
    """
    user = unprivileged_user(user_name)
    loaded = load_programs(settings)
    watch = (
        Watch(Namespaces(loaded.doors), Summarizer(partial(older_connections, filters=settings.filters)), complain)
        if loaded.doors
        else None
    )
    source = LiveSource(loaded, look_every_ns, watch)
    for what in unseen_without_rights(sockets=settings.snapshots and not settings.filters.own_netns):
        complain(TcptraceError(what))
    drop_privileges(user)
    if watch:
        watch.start()
    elif settings.snapshots:
        complain(TcptraceError("cannot count sockets by state", "the kernel needs sock_diag: modprobe tcp_diag"))
    return source


def complain(error: TcptraceError) -> None:
    """Say on standard error what does not work, when the rest goes on without it."""
    print(f"tcptrace: {error}", file=sys.stderr, flush=True)


class Stop:
    """Set by a signal; interrupted says whether it was Ctrl-C, which shows in the exit status.

    A pipe instead of a threading.Event: a signal's handler runs in the thread that may be inside wait() just then, holding
    the Event's lock, which set() would wait for until the end of days.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self._requested = False
        self.interrupted = False

    def set(self) -> None:
        """Ask for the end; safe in a signal's handler."""
        if not self._requested:
            self._requested = True
            os.write(self._writer, b"\0")

    def is_set(self) -> bool:
        """Say whether the end was asked for."""
        return self._requested

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep for so many seconds, but not beyond the request to end; return whether there was one."""
        select.select([self._reader], [], [], timeout)
        return self._requested

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._reader)
        os.close(self._writer)

    def leave(self) -> None:
        """End the command with the status that tells what stopped it: 130 for Ctrl-C, else none in particular."""
        if self.interrupted:
            raise typer.Exit(130)


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Yield an event that Ctrl-C, SIGTERM and SIGHUP set, so that every way out passes by the summary.

    A second Ctrl-C ends the process at once.
    """
    stop = Stop()

    def ask(number: int, _frame: object) -> None:
        if stop.is_set() and number == signal.SIGINT:
            os._exit(130)
        stop.interrupted = number == signal.SIGINT
        stop.set()

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        stop.close()


class View:
    """What is shown while tracing goes on: the live table on a terminal, otherwise a line a second on standard error."""

    def __init__(self, *, table: bool | None, color: bool | None) -> None:
        self._console = Console(stderr=True, no_color=color is False or None, force_terminal=color or None, highlight=False)
        self._table = self._console.is_terminal if table is None else table
        self._previous: Report | None = None
        self._live = Live(console=self._console, auto_refresh=False, screen=self._console.is_terminal) if self._table else None

    def __enter__(self) -> Self:
        """Take the screen, when there is one to take."""
        if self._live:
            self._live.start()
        return self

    def show(self, report: Report) -> None:
        """Show one more Report."""
        if self._live:
            self._live.update(live_table(report, self._previous, self._console.width), refresh=True)
        else:
            for line in interval(report, self._previous):
                print(line, file=sys.stderr, flush=True)
        self._previous = report

    def __exit__(self, *_: object) -> None:
        """Give the screen back as it was."""
        if self._live:
            self._live.stop()
