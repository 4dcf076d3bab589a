"""What every tracing command does around its own work: start the kernel side, drop privileges, stop on a signal.

Privileges are dropped here, after everything that needs them was opened and everything that is imported was imported: from a
checkout in an unreadable home nothing could be imported afterwards.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import typer

from tracer.errors import TcptraceError
from tracer.ingest.gather import FIRST_SECONDS
from tracer.ingest.livesource import LiveSource
from tracer.ingest.memory import bound_heaps
from tracer.ingest.namespaces import Namespaces
from tracer.ingest.numbers import Numbers
from tracer.ingest.source import ASKED
from tracer.kernel.confinement import confine
from tracer.kernel.filters import Filters
from tracer.kernel.launch import Loading
from tracer.kernel.privileges import User, drop_privileges, unprivileged_user, unseen_unprivileged
from tracer.kernel.shipped import PACKAGE
from tracer.model.sockets import Summarizer
from tracer.watch import INTERVAL_SECONDS, Watch


def open_kernel(
    loading: Loading,
    user_name: str | None,
    look_every_ns: int = 1_000_000_000,
    *,
    with_cgroups: bool = False,
    columns: bool = False,
) -> LiveSource:
    """Load and attach, then become the unprivileged user; returns the source, raises TcptraceError.

    loading: a loader at work, which is waited for.
    with_cgroups: whether snapshots are to say in which cgroups there are listeners. columns: see LiveSource.
    What only root can open (a listening socket below 1024, a file of root's) is opened before.
    """
    with loading:
        bound_heaps()
        user = unprivileged_user(user_name)
        settings, loaded = loading.settings, loading.wait()
    later, numbers, namespaces = not settings.filters.own_netns, Numbers(), None
    if loaded.handles and settings.snapshots:
        namespaces = Namespaces(loaded.handles, later=later, numbers=numbers, with_cgroups=with_cgroups, with_details=True)
    asked = tuple(name for name in ASKED if getattr(settings, name))
    source = LiveSource(loaded, look_every_ns, asked, namespaces, numbers, columns=columns)
    for what in unseen_unprivileged(sockets=settings.snapshots and later):
        complain(TcptraceError(what))
    give_up_privileges(user)
    return source


def watch_sockets(source: LiveSource, filters: Filters, every: float = INTERVAL_SECONDS, rows: int = 0) -> Watch | None:
    """Begin to take snapshots of the sockets that the filters choose; None where the kernel does not tell of sockets.

    every: seconds from one to the next, where nobody asks. rows: of how many open connections they have all that the kernel
    tells.
    """
    if source.namespaces is None:
        complain(TcptraceError("cannot count sockets by state", "the kernel needs sock_diag: modprobe tcp_diag"))
        return None
    apart = source.places.apart if source.places else nullcontext
    watch = Watch(source.namespaces, Summarizer(filters, rows, source.served, source.bound), complain, every, apart)
    watch.start()
    return watch


def give_up_privileges(user: User) -> None:
    """Become the user, without a way back, and be confined to what is needed from now on, as far as this kernel can."""
    drop_privileges(user)
    confine((sys.prefix, str(PACKAGE.parent)))


def announce(start: float, doing: str, missing: tuple[str, ...]) -> None:
    """Say on standard error what is done since the command began (start: its time.monotonic()), and what cannot be shown."""
    print(f"tcptrace: attached after {time.monotonic() - start:.2f} s; {doing}", file=sys.stderr, flush=True)
    for what in missing:
        print(f"tcptrace: this kernel does not show {what}", file=sys.stderr, flush=True)


def complain(error: TcptraceError) -> None:
    """Say on standard error what does not work, when the rest goes on without it."""
    print(f"tcptrace: {error}", file=sys.stderr, flush=True)


def pause() -> None:
    """Wait until all CPUs have woken the reader that do so together."""
    time.sleep(FIRST_SECONDS)


class Stop:
    """Set by a signal; interrupted says whether it was Ctrl-C, which shows in the exit status.

    before_exit: what is to be done before a second Ctrl-C ends the process at once.

    A pipe instead of a threading.Event: a signal's handler runs in the thread that may be inside wait() just then, holding
    the Event's lock, which set() would wait for until the end of days.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self._others: list[tuple[select.epoll, Callable[[], None]]] = []
        self._requested = False
        self.interrupted = False
        self.before_exit: Callable[[], None] = lambda: None

    def set(self) -> None:
        """Ask for the end; safe in a signal's handler."""
        if not self._requested:
            self._requested = True
            os.write(self._writer, b"\0")

    def hang_up(self) -> None:
        """Ask for the end because the terminal was closed, unless SIGHUP is ignored: nohup means this, too."""
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            self.set()

    def is_set(self) -> bool:
        """Say whether the end was asked for."""
        return self._requested

    def wake_on(self, what: select.epoll, gather: Callable[[], None] = pause) -> None:
        """Have wait() return early for this, too; edge-triggered. gather: waits until all have come that come together."""
        self._others.append((what, gather))

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep for so many seconds, but not beyond the request to end; return whether there was one."""
        others = [(other, gather) for other, gather in self._others if not other.closed]
        ready, _, _ = select.select([self._reader, *(other.fileno() for other, _ in others)], [], [], timeout)
        for other, gather in others:
            if other.fileno() in ready and not self._requested:
                gather()
            other.poll(0)
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

    A second Ctrl-C ends the process at once. SIGHUP stays ignored where it was when the command began (nohup).
    """
    stop = Stop()

    def ask(number: int, _frame: object) -> None:
        if stop.is_set() and number == signal.SIGINT:
            stop.before_exit()
            os._exit(130)
        stop.interrupted = number == signal.SIGINT
        stop.set()

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    previous = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        stop.close()
