"""What a connection's life is told in: steps, one after the other, each with the numbers that belong to it.

Data only, made by recordsteps.py and drawn by outputs/ladder.py. One class for all kinds of steps, with what only some of them
have in `facts`: a class for each would be two dozen, all of which a ladder draws in the same five columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

OUT, IN = "out", "in"

BEGINNINGS = frozenset({"listening", "opened", "accepted", "half_open", "older", "restored", "joined", "stray"})
"""Kinds of steps with which the telling of a connection begins, or of a listener, of which nothing else is told."""


@dataclass(frozen=True)
class Identity:
    """A connection as far as it is known at a step; ports and pid 0, process "" and descriptor -1 when not known.

    number: counts the connections that are told of, from 1. id: the kernel side's, 0 while there is only a request.
    """

    number: int
    id: int
    role: str
    family: int
    local_address: str
    local_port: int
    remote_address: str
    remote_port: int
    pid: int = 0
    process: str = ""
    descriptor: int = -1


@dataclass(frozen=True)
class Step:
    """One step.

    kind: what happened, such as `syn`. seconds: since the connection's beginning, below 0 for what was learned of afterwards,
    None when that is not known. entered: our state from here on, "" if it stays; left, spent: the one before, and the seconds
    in it, None when its beginning was not seen. way: of a segment, out or in, else "". bits: its control bits. inferred: it
    must have been so, but nobody saw it.
    initial: a SYN's own number, as it is on the wire; sequence, end, acknowledgement: relative to the initial numbers, so that
    the first byte of either side is 1. payload: bytes; segments: how many carried them.
    facts: by kind, see model/follow/recordsteps.py.
    time_ns: of the step, CLOCK_MONOTONIC, None when it is not known.
    joined: the number of a pair of ends, bothends.py, 0 where only one is known; then seconds are since the client began to
    connect, there is the state that the other end enters with the same segment, and later how long that took to reach it, None:
    too short to tell.
    """

    kind: str
    who: Identity
    seconds: float | None
    entered: str = ""
    left: str = ""
    spent: float | None = None
    way: str = ""
    bits: tuple[str, ...] = ()
    inferred: bool = False
    initial: int | None = None
    sequence: int | None = None
    end: int | None = None
    acknowledgement: int | None = None
    payload: int = 0
    segments: int = 0
    facts: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    time_ns: int | None = None
    joined: int = 0
    there: str = ""
    later: float | None = None
