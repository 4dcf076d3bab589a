"""Both ends of a connection that are on this machine, told as one: one clock, and each segment once.

They belong together when the ends of one are those of the other, mirrored, and so are both initial sequence numbers: in one
network namespace or in two. It is known when both have told of their handshake; what was told before stays as it was. No step
is held back. A segment is drawn when the first end tells of it. What the other one tells of it in the same batch, with nothing
between, is put beside it; later on only its change of state is left (`arrived`, `left`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tracer.model.follow.steps import BEGINNINGS, IN, OUT, Identity, Step
from tracer.model.follow.track import Track

MAX_WAITING = 256
"""Handshakes of which the other end is looked for."""

LATER_SECONDS = 1e-3
"""From so long on between the two ends it is said how long a segment took."""

OTHER = {"client": "server", "server": "client"}

LEAVES = {
    "syn": "syn",
    "syn_ack_sent": "syn_ack",
    "ack_sent": "ack",
    "fin_sent": "fin",
    "fin_answered": "fin_ack",
    "reset_sent": "reset",
}
ARRIVES = {
    "syn_received": "syn",
    "syn_ack_received": "syn_ack",
    "ack_received": "ack",
    "fin_received": "fin",
    "fin_acknowledged": "fin_ack",
    "reset_received": "reset",
}
"""The segments of which both ends tell, by the kind of the step that does."""

Segment = tuple[str, str]
"""A name from LEAVES, and the role of its sender."""


@dataclass
class Pair:
    """Both ends. client: who it is. base_ns: when it began to connect. announced: a step has said that they are joined.

    told: by which role a segment was told first. reached: the number up to which the data of a role were told.
    """

    client: Identity
    base_ns: int
    announced: bool = False
    told: dict[Segment, str] = field(default_factory=dict)
    reached: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OTHER, 1))


class Pairs:
    """Finds the ends that belong together and joins their steps."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[tuple[Any, Any], Track] = OrderedDict()
        self._pairs: dict[int, Pair] = {}

    def note(self, track: Track, record: Any) -> None:
        """Look at the record of a handshake: whether it is the other end's of one that was seen before."""
        mine = (tuple(record.local_address), record.local_port, record.initial_sequence)
        theirs = (tuple(record.remote_address), record.remote_port, record.peer_initial_sequence)
        role = track.who.role
        if role not in OTHER or not (record.initial_sequence and record.peer_initial_sequence):
            return
        key = (mine, theirs) if role == "client" else (theirs, mine)
        found = self._waiting.pop(key, None)
        if found is None or found.who.role == role:
            self._waiting[key] = track
            if len(self._waiting) > MAX_WAITING:
                self._waiting.popitem(last=False)
            return
        client = track if role == "client" else found
        pair = Pair(client.who, client.base_ns)
        self._pairs |= dict.fromkeys((track.who.number, found.who.number), pair)

    def forget(self, number: int) -> None:
        """Forget the connection of this number."""
        self._pairs.pop(number, None)

    def join(self, steps: Sequence[Step]) -> list[Step]:
        """Return the steps of a batch, those of joined ends in the order of their times and on one clock."""
        if not self._pairs:
            return list(steps)
        told: list[Step] = []
        last: dict[int, int] = {}
        for step in self._in_order(steps):
            pair = self._pairs.get(step.who.number)
            if pair is None:
                told.append(step)
                continue
            before = last.get(step.joined)
            beside = None if before is None else together(told[before], step)
            if beside is not None and before is not None:
                told[before] = beside
                continue
            if shown := _announced(pair, step) + _once(pair, step):
                told += shown
                last[step.joined] = len(told) - 1
        return told

    def _in_order(self, steps: Sequence[Step]) -> list[Step]:
        """Return the steps, those of each pair on its clock and by their times, in the places that they had together."""
        found = list(steps)
        places: dict[int, list[int]] = {}
        for place, step in enumerate(steps):
            if pair := self._pairs.get(step.who.number):
                found[place] = _on_clock(pair, step)
                places.setdefault(pair.client.number, []).append(place)
        for at in places.values():
            ordered = _by_time([found[place] for place in at])
            for place, step in zip(at, ordered, strict=True):
                found[place] = step
        return found


def _on_clock(pair: Pair, step: Step) -> Step:
    seconds = None if step.time_ns is None else (step.time_ns - pair.base_ns) / 1e9
    return replace(step, seconds=seconds, joined=pair.client.number)


def _by_time(steps: Sequence[Step]) -> list[Step]:
    """Return steps by their times, beginnings first; one without a time stays behind the one before it."""
    times: list[int] = []
    for step in steps:
        times.append(step.time_ns or (times[-1] if times else 0))
    order = sorted(range(len(steps)), key=lambda at: (steps[at].kind not in BEGINNINGS, times[at]))
    return [steps[at] for at in order]


def _announced(pair: Pair, step: Step) -> list[Step]:
    """Return the step that says that both ends are joined, before the first one that is no beginning."""
    if pair.announced or step.kind in BEGINNINGS:
        return []
    pair.announced = True
    return [Step("paired", pair.client, None, joined=pair.client.number)]


def segment_of(step: Step) -> Segment | None:
    """Return which segment a step tells of, None for one that tells of none, or of one that the other end does not tell of."""
    if name := LEAVES.get(step.kind):
        return name, step.who.role
    if name := ARRIVES.get(step.kind):
        return name, OTHER[step.who.role]
    return None


def together(first: Step, second: Step) -> Step | None:
    """Return what both ends tell of one segment as a step, None if they do not."""
    segment = segment_of(first)
    if segment is None or segment != segment_of(second) or first.who.role == second.who.role or first.there:
        return None
    seen = [step for step in (first, second) if not step.inferred]
    chosen = next((step for step in seen or (first, second) if step.way == OUT), (seen or [first])[0])
    other = second if chosen is first else first
    apart = (second.seconds or 0) - (first.seconds or 0)
    later = apart if apart >= LATER_SECONDS else None
    return replace(chosen, seconds=first.seconds, there=other.entered, later=later)


def _once(pair: Pair, step: Step) -> list[Step]:
    """Return a step, or what is left of it after what the other end has told."""
    if step.kind in {"data_sent", "data_received", "segment"}:
        return _new_data(pair, step)
    segment = segment_of(step)
    if segment is None or pair.told.setdefault(segment, step.who.role) == step.who.role:
        return [step]
    if not step.entered:
        return []
    return [replace(step, kind="arrived" if step.kind in ARRIVES else "left", way="")]


def _new_data(pair: Pair, step: Step) -> list[Step]:
    """Return data as far as they were not told yet; a segment with its measures is always told."""
    sender = OTHER[step.who.role] if step.way == IN else step.who.role
    reached = pair.reached[sender]
    pair.reached[sender] = max(reached, step.end or 0)
    if step.kind == "segment" or step.sequence is None or step.end is None or step.sequence >= reached:
        return [step]
    if step.end <= reached:
        return []
    return [replace(step, sequence=reached, payload=step.end - reached, segments=0)]
