"""`tcptrace follow`: the life of each connection, drawn while it happens."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import typer

from tracer.commands import options
from tracer.commands.printing import Output, say_what_was_lost
from tracer.commands.session import announce, complain, open_kernel, stop_on_signals
from tracer.errors import TcptraceError, UsageError
from tracer.ingest.cgroups import CgroupNames
from tracer.ingest.clock import kernel_ns
from tracer.ingest.live import LiveSource
from tracer.ingest.source import Reading
from tracer.kernel.programs import Settings
from tracer.model.aborts import settle
from tracer.model.lives import Lives
from tracer.model.steps import Step
from tracer.model.tcp import KIND, STATES
from tracer.outputs.jsonl import FOLLOWED, describe, json_lines
from tracer.outputs.ladder import Style, head_lines, ladder_lines
from tracer.pipeline import POLL_SECONDS, Stop

FORMATS = ("text", "json")

ASK_SECONDS = 0.1
"""Between two looks at what an ended connection has left, while the peer's FIN is still awaited."""

PATIENCE_SECONDS = 60.0
"""How long the peer's FIN is awaited after the end: as long as the kernel does (net.ipv4.tcp_fin_timeout)."""

LAST_SECONDS = 1.0
"""The same when all connections that were asked for have ended."""

MAX_WAITING = 256


def follow(
    context: typer.Context,
    format_name: Annotated[
        str, typer.Option("--format", metavar="|".join(FORMATS), help="text: a ladder; json: its events, an object a line.")
    ] = "text",
    explain: Annotated[bool, typer.Option("--explain", help="Add a sentence on each step, and its RFC.")] = False,
    segments: Annotated[
        bool, typer.Option("--segments", help="Every received segment too: cwnd, ssthresh, srtt, windows.")
    ] = False,
    ascii_only: Annotated[bool, typer.Option("--ascii", help="Draw with ASCII characters only.")] = False,
    count: Annotated[int | None, typer.Option(metavar="N", min=1, help="Stop when N connections have ended.")] = None,
    duration: options.Duration = None,
    user: options.UserName = None,
    port: options.Ports = None,
    address: options.Addresses = None,
    role: options.Role = None,
    pid: options.Pid = None,
    cgroup: options.Cgroup = None,
    netns: options.Netns = "all",
) -> None:
    """Draw each connection's life as it happens: handshake, data, retransmissions, close, TIME_WAIT, with all numbers.

    Solid arrows are what the kernel told, dotted ones what must have happened.
    JSON lines are those of 'events --format json', and of the kinds call and
    segment, with the connection's number and its sequence variables
    (send_unacknowledged, send_next, receive_next: RFC 9293, 3.3.1); and one of
    kind time_wait after the end.
    """
    start = time.monotonic()
    if format_name not in FORMATS:
        raise UsageError(f"--format {format_name} is not known", f"give {' or '.join(FORMATS)}")
    filters = options.filters(port, address, role, pid, cgroup, netns)
    style = Style(shutil.get_terminal_size().columns, ascii=ascii_only, color=_is_colored(context.obj), explain=explain)
    source = open_kernel(Settings(filters, follow=True, segments=segments), user)
    lives = Lives(source.context.reset_reasons, segments=segments)
    try:
        with stop_on_signals() as stop:
            announce(start, "following new connections", source.context.missing)
            output = Output(stop)
            show = _show_json(source, output) if format_name == "json" else _show_ladder(output, style)
            follower = Follower(source, lives, show, count)
            last = watch(source, follower, output, stop, duration)
    finally:
        source.close()
    say_what_was_lost(last)
    if lives.passed_over:
        print(f"tcptrace: {lives.passed_over} connections were not followed: too many at once; filter", file=sys.stderr)
    stop.leave()


def _is_colored(wanted: bool | None) -> bool:
    return sys.stdout.isatty() if wanted is None else wanted


Show = Callable[[Reading | None, list[Step]], None]
"""Shows a reading, if there is a new one, and the steps that it brought."""


def _show_ladder(output: Output, style: Style) -> Show:
    output.write(head_lines(style))
    return lambda _, steps: output.write(ladder_lines(steps, style))


def _show_json(source: LiveSource, output: Output) -> Show:
    """Return what prints events as they came, and of the steps what is no event: the dump's word on TIME_WAIT."""
    container = CgroupNames()

    def show(reading: Reading | None, steps: list[Step]) -> None:
        if reading:
            output.write(json_lines(describe(settle(reading.events), source.context.at(reading), container, FOLLOWED)))
        output.write([json.dumps(_left_behind(step)) for step in steps if "remaining" in step.facts])

    return show


def _left_behind(step: Step) -> dict[str, Any]:
    return {
        "time": str(np.datetime_as_string(np.datetime64(time.time_ns(), "ns"), timezone="UTC")),
        "kind": "time_wait",
        "connection": str(step.who.id),
        "state": "time_wait" if step.kind == "time_wait" else "fin_wait2",
        "remaining_seconds": step.facts["remaining"],
    }


@dataclass(frozen=True)
class Waiting:
    """An ended connection that has left a timewait object: its last record, and when to ask for it, and until when."""

    event: np.void
    told: str
    ask: float
    until: float


class Follower:
    """Shows the steps of each batch, and asks the socket table for what ended connections leave; done: nothing more to show."""

    def __init__(self, source: LiveSource, lives: Lives, show: Show, count: int | None) -> None:
        self._namespaces = source.namespaces
        self._lives = lives
        self._show = show
        self._count = count
        self._waiting: dict[int, Waiting] = {}

    @property
    def done(self) -> bool:
        """Whether all connections that were asked for have ended, and what they left has been told."""
        return self._all_ended and not self._waiting

    @property
    def _all_ended(self) -> bool:
        return self._count is not None and self._lives.ended >= self._count

    def take(self, reading: Reading, now: float) -> None:
        """Show a reading, and what is due of those before."""
        events = reading.events
        steps = self._lives.add(events)
        self._show(reading, steps)
        for step in steps:
            if step.kind == "closed" and step.facts["time_wait"] and len(self._waiting) < MAX_WAITING:
                ends = events[(events["connection"] == step.who.id) & (events["kind"] == KIND["close"])]
                self._waiting[step.who.id] = Waiting(ends[0].copy(), "", now, now + PATIENCE_SECONDS)
        for connection in [number for number, waiting in self._waiting.items() if waiting.ask <= now]:
            self._ask(connection, now)

    def _ask(self, connection: int, now: float) -> None:
        waiting = self._waiting.pop(connection)
        found = self._look_up(waiting.event)
        if found is None:
            return
        state = STATES[found.state]
        if state != waiting.told:
            self._show(None, self._lives.time_wait(connection, state, found.seconds, kernel_ns()))
        until = min(waiting.until, now + LAST_SECONDS) if self._all_ended else waiting.until
        if state != "time_wait" and now < until:
            self._waiting[connection] = Waiting(waiting.event, state, now + ASK_SECONDS, until)

    def _look_up(self, event: np.void) -> Any:
        try:
            return self._namespaces.time_wait(event) if self._namespaces else None
        except TcptraceError as error:
            complain(error)
            self._namespaces = None
            return None


def watch(source: LiveSource, follower: Follower, output: Output, stop: Stop, duration: float | None) -> Reading | None:
    """Show what comes until the follower is done, or stop or the duration says so, or nobody reads; return the last reading."""
    end = time.monotonic() + duration if duration is not None else float("inf")
    last = None
    while not follower.done and not output.gone:
        ending = stop.is_set() or time.monotonic() >= end
        last = source.read()
        if last is None:
            break
        follower.take(last, time.monotonic())
        if ending:
            break
        output.wait(min(POLL_SECONDS, max(end - time.monotonic(), 0)))
    return last
