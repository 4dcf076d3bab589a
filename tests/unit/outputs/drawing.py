"""A script and the ladder that it must become: how tests draw one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from tests.unit.script import Left, play
from tracer.ingest.aborts import settle
from tracer.model.follow.followed import Followed
from tracer.model.follow.steps import Step
from tracer.outputs.ladder import Style, ladder_lines

REASONS = {8: "tcp_abort_on_close", 9: "tcp_abort_on_data", 10: "tcp_abort_on_linger"}


def steps(script: str, *, segments: bool = False) -> list[Step]:
    """Return the steps of a script, all of whose events are one batch."""
    followed = Followed(REASONS, segments=segments)
    found: list[Step] = []
    for is_left, items in groupby(play(script), lambda item: isinstance(item, Left)):
        if is_left:
            for left in items:
                assert isinstance(left, Left)
                found += followed.time_wait(left.connection, left.state, left.remaining, left.time_ns)
        else:
            found += followed.add(settle(np.concatenate([item for item in items if not isinstance(item, Left)])))
    return found


def drawn(script: str, options: Sequence[str] = (), *, color: bool = False) -> list[str]:
    """Return the ladder of a script; options: ascii, explain, segments, width=N."""
    style = Style(ascii="ascii" in options, explain="explain" in options, color=color)
    for option in options:
        if option.startswith("width="):
            style = replace(style, width=int(option.removeprefix("width=")))
    return ladder_lines(steps(script, segments="segments" in options), style)
