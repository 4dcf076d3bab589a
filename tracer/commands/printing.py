"""Events as lines on standard output: the formats, the kinds, and a loop that any source can feed.

Standard output is written by its descriptor, a batch at once, and watched while nothing is written: a reader that goes away
(`| head -1`) ends the command then and there, and not at the next event, which may never come.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tracer.commands.options import known_format
from tracer.commands.streams import GONE, cannot_write
from tracer.errors import UsageError
from tracer.ingest.sets import is_in
from tracer.ingest.source import Context, Reading, Source
from tracer.model.tcp import CELL, KIND
from tracer.outputs import eventcsv, eventtable
from tracer.outputs.jsonl import EVENT_KINDS, Event, describe, json_lines
from tracer.pipeline import StopRequest

KINDS = EVENT_KINDS
DEFAULT_KINDS = tuple(kind for kind in KINDS if kind != "state")

_GONE = select.POLLERR | select.POLLHUP | select.POLLNVAL


class Format(NamedTuple):
    """What is printed once, and how events become lines."""

    head: tuple[str, ...]
    lines: Callable[[Sequence[Event]], list[str]]


FORMATS = {
    "table": Format((eventtable.HEAD,), eventtable.table_lines),
    "json": Format((), json_lines),
    "csv": Format((eventcsv.HEAD,), eventcsv.csv_lines),
}


def check_kinds(kinds: Sequence[str] | None) -> tuple[str, ...]:
    """Return the kinds asked for, all but `state` by default; raises UsageError for one that is not known."""
    for kind in kinds or ():
        if kind not in KINDS:
            raise UsageError(f"--kind {kind} is not known", f"choose from {', '.join(KINDS)}")
    return tuple(kinds or DEFAULT_KINDS)


def check_format(name: str, *, color: bool) -> Format:
    """Return the format of that name; raises UsageError for one that is not known.

    color: whether the table has colors; the others never do.
    """
    form = FORMATS[known_format(name, tuple(FORMATS))]
    return form._replace(lines=eventtable.colored_lines) if color and name == "table" else form


class Output:
    """Standard output, without a buffer. gone: whether its reader went away."""

    def __init__(self, stop: StopRequest, fd: int = 1) -> None:
        self._stop = stop
        self._fd = fd
        self._poll = select.poll()
        self.gone = False

    def wait(self, seconds: float, wanted: int = 0) -> bool:
        """Sleep, but not longer than there is a reader; returns whether what is wanted (POLLOUT) came."""
        self._poll.register(self._fd, wanted)
        found = self._poll.poll(seconds * 1000)
        self.gone = self.gone or any(event & _GONE for _, event in found)
        return bool(found) and not self.gone

    def write(self, lines: Sequence[str]) -> None:
        """Write lines as soon as the reader takes them; after a signal a reader who takes nothing is not waited for.

        A pipe that is ready takes PIPE_BUF bytes without blocking, and so many are written at a time.
        """
        data = memoryview("".join(f"{line}\n" for line in lines).encode(errors="backslashreplace"))
        while data and not self.gone:
            if self.wait(0.1, select.POLLOUT):
                data = data[self._write(data[: select.PIPE_BUF]) :]
            elif self._stop.is_set():
                return

    def _write(self, data: memoryview) -> int:
        try:
            return os.write(self._fd, data)
        except OSError as error:
            if error.errno not in GONE:
                raise cannot_write(error) from error
            self.gone = True
            return 0


class Printer:
    """Prints the events that are wanted, as many as are wanted. container: the name of a cgroup, by its id."""

    def __init__(
        self,
        output: Output,
        form: Format,
        context: Context,
        *,
        kinds: Sequence[str] = KINDS,
        count: int | None = None,
        container: Callable[[int], str] = lambda _: "",
    ) -> None:
        self._output = output
        self._lines = form.lines
        self._context = context
        self._kinds = [KIND[kind] for kind in kinds]
        self._left = count
        self._container = container
        output.write(form.head)

    @property
    def done(self) -> bool:
        """Whether nothing more is to be printed: all that were asked for have been, or nobody reads."""
        return self._left == 0 or self._output.gone

    def show(self, reading: Reading) -> None:
        """Print what a reading has brought."""
        events, context = reading.events, self._context.at(reading)
        wanted = events[is_in(events["kind"], self._kinds)][: self._left]
        if len(wanted):
            self._output.write(self._lines(describe(wanted, context, self._container)))
            self._left = None if self._left is None else self._left - len(wanted)


def print_events(
    source: Source, printer: Printer, output: Output, stop: StopRequest, *, duration: float | None = None, every: float
) -> Reading | None:
    """Print what a source gives until it ends, the printer is done, or stop or the duration says so; return its last reading.

    every: seconds between two looks at the source, 0 for one that has all at once.
    """
    end = time.monotonic() + duration if duration is not None else float("inf")
    last = None
    while not printer.done:
        ending = stop.is_set() or time.monotonic() >= end
        reading = source.read()
        if reading is None:
            break
        last = reading
        printer.show(reading)
        if ending:
            break
        output.wait(min(every, max(end - time.monotonic(), 0)))
    return last


def say_what_was_lost(last: Reading | None) -> None:
    """Say on standard error how many events found no room, if any; every number is from the kernel's own counting."""
    if last is None:
        return
    lost, untracked = int(last.cells[CELL["events_lost"]]), int(last.cells[CELL["untracked"]])
    if lost:
        print(f"tcptrace: {lost} events were lost: the ring was full; filter in the kernel, with --port say", file=sys.stderr)
    if untracked:
        print(f"tcptrace: {untracked} connections were not traced: the connection table was full", file=sys.stderr)
