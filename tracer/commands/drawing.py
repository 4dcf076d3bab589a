"""What `follow` shows of readings, of the running kernel or of a recording: the ladder, or JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from tracer.ingest.source import Context, Reading, Remains
from tracer.model.follow.followed import Followed
from tracer.model.follow.steps import Step
from tracer.model.tcp import KIND, STATES
from tracer.outputs.jsonl import FOLLOWED, describe, json_lines
from tracer.outputs.ladder import Style, head_lines, ladder_lines

Show = Callable[[Reading, Sequence[Step], Sequence[Remains]], None]
"""Shows a reading: its events as they came, the steps that they are, and what is told after an end."""


class Lines(Protocol):
    """What lines are written to."""

    def write(self, lines: Sequence[str]) -> None:
        """Write lines."""


def show_ladder(output: Lines, style: Style) -> Show:
    """Write the head of the ladder, and return what draws the rest."""
    output.write(head_lines(style))
    told: set[str] = set()
    return lambda _, steps, __: output.write(ladder_lines(steps, style, told))


def show_json(context: Context, output: Lines, container: Callable[[int], str]) -> Show:
    """Return what prints events as they came, and what is no event: what ended connections have left."""

    def show(reading: Reading, _: Sequence[Step], remains: Sequence[Remains]) -> None:
        now = context.at(reading)
        output.write(json_lines(describe(reading.events, now, container, FOLLOWED)))
        output.write([json.dumps(_left_behind(one, now)) for one in remains])

    return show


def _left_behind(remains: Remains, context: Context) -> dict[str, Any]:
    time = np.datetime64(remains.time_ns + context.anchor_ns, "ns")
    return {
        "time": str(np.datetime_as_string(time, timezone="UTC")),
        "kind": "time_wait",
        "connection": str(remains.connection),
        "state": STATES[remains.state] if STATES[remains.state] in {"time_wait", "close"} else "fin_wait2",
        "remaining_seconds": remains.seconds,
    }


class Follower:
    """Shows readings until so many connections have ended. segments: whether those that arrive are shown, too."""

    def __init__(self, context: Context, show: Show, *, segments: bool, count: int | None = None) -> None:
        self._followed = Followed(context.reset_reasons, segments=segments)
        self._segments = segments
        self._show = show
        self._count = count

    @property
    def all_ended(self) -> bool:
        """Whether all connections that were asked for have ended."""
        return self._count is not None and self._followed.ended >= self._count

    @property
    def passed_over(self) -> int:
        """How many connections are not shown, as there were too many at once."""
        return self._followed.passed_over

    def take(self, reading: Reading) -> None:
        """Show a reading."""
        if not self._segments:
            reading = replace(reading, records=reading.records[reading.records["kind"] != KIND["segment"]])
        steps = self._followed.add(reading.events)
        after_end = self._followed.time_wait
        told = [(one, after_end(one.connection, STATES[one.state], one.seconds, one.time_ns)) for one in reading.remains]
        self._show(reading, [*steps, *(step for _, after in told for step in after)], [one for one, after in told if after])
