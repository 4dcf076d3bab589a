"""What is known of one connection between two of its records: who it is, since when it is in which state, how far it has come.

What a record alone does not say is a difference to what was before: time in a state, bytes since the last step, the interval
until a segment is retransmitted. All of it is kept here, in a few hundred bytes, and recordsteps.py makes steps of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tracer.ingest.names import name_text
from tracer.model.follow.position import START, Position, position
from tracer.model.follow.steps import IN, OUT, Identity, Step
from tracer.model.naming import address_text
from tracer.model.tcp import FLAG, KINDS, RETRANSMIT_KINDS, ROLES, STATE, STATES

SENT_REMEMBERED = 16
"""Numbers of which the time of the last sending is kept, for the interval until they are retransmitted."""

DOUBLED = 1.6
"""From so many times the interval before on it has doubled: timers are late, by a tick or when the machine is busy."""

NOT_FROM_START = ("older", "restored", "stray")
CARRY_DATA = ("fast", "timeout", "tail_loss_probe", "mtu")


def name_of(names: tuple[str, ...], number: int) -> str:
    """Return the name of a number, `unknown` for one that has none."""
    return names[number] if number < len(names) else "unknown"


def who_of(number: int, record: Any) -> Identity:
    """Return whose record it is."""
    return Identity(
        number=number,
        id=record.connection,
        role=name_of(ROLES, record.role),
        family=record.family,
        local_address=address_text(bytes(record.local_address), record.netns),
        local_port=record.local_port,
        remote_address=address_text(bytes(record.remote_address), record.netns),
        remote_port=record.remote_port,
        pid=record.pid,
        process=name_text(record.process),
        descriptor=record.descriptor,
    )


class Track:
    """One connection so far.

    begins: how the telling begins: opened (by us), accepted, half_open (only a request), older (than the tracer), restored (by
    TCP_REPAIR), joined (the beginning was lost), stray (no connection).
    shown: the position up to which data have been told, None for an older one before its first. peer_fin: it was told.
    taken: accept() has returned it, or it came to no listener, or earlier than what is told.
    requests_told: the SYN and the SYN-ACK before a server's socket were told.
    segments: whether received segments have records, so that they need not be summed up. positions: whether any are told.
    """

    def __init__(self, number: int, record: Any, begins: str, *, segments: bool, positions: bool = True) -> None:
        self.who = who_of(number, record)
        self.begins = begins
        self.state = name_of(STATES, record.from_state)
        self.shown: Position | None = START if positions and begins not in NOT_FROM_START else None
        self.peer_fin = False
        self.syn_told = begins != "opened"
        self.taken = begins not in {"accepted", "half_open"}
        self.requests_told = False
        self.peer_initial_told = False
        self.syn_ack_again_ns: int | None = None
        self.base_ns: int = record.time_ns - (0 if record.flags & FLAG["partial"] else record.duration_ns)
        self.since_ns: int | None = None
        self._segments = segments
        self._sent_ns: dict[int, int] = {}
        self._intervals: dict[int, float] = {}
        self._retransmitted = 0

    def step(self, kind: str, time_ns: int | None, **fields: Any) -> Step:
        """Return a step of that time, CLOCK_MONOTONIC; None: not known."""
        seconds = None if time_ns is None else (time_ns - self.base_ns) / 1e9
        return Step(kind, self.who, seconds, time_ns=time_ns, **fields)

    def enter(self, state: str, time_ns: int) -> dict[str, Any]:
        """Be in a state from here on; return what a step says of it."""
        spent = None if self.since_ns is None else (time_ns - self.since_ns) / 1e9
        left, self.state, self.since_ns = self.state, state, time_ns
        return {"entered": state, "left": left, "spent": spent}

    def learn(self, record: Any) -> None:
        """Take over what this record is the first to know of the connection: its port, say."""
        found = who_of(self.who.number, record)
        mine = self.who
        if found.id and not mine.id:
            mine = replace(mine, id=found.id)
        if found.local_port and not mine.local_port:
            mine = replace(mine, local_port=found.local_port, local_address=found.local_address)
        if found.pid and not mine.pid:
            mine = replace(mine, pid=found.pid, process=found.process)
        if found.descriptor >= 0 > mine.descriptor:
            mine = replace(mine, descriptor=found.descriptor)
        self.who = mine

    def missed(self, record: Any) -> list[Step]:
        """Return a step that says that records are missing, when the state that is left is not the one we knew."""
        left = name_of(STATES, record.from_state)
        if self.state in {left, "close", "listen"}:
            return []
        self.state, self.since_ns = left, None
        return [self.step("gap", record.time_ns, entered=left)]

    def sent(self, number: int, time_ns: int) -> float | None:
        """Note when a number was sent; return the seconds since it was before, None when that was not seen."""
        before = self._sent_ns.pop(number, None)
        self._sent_ns[number] = time_ns
        if len(self._sent_ns) > SENT_REMEMBERED:
            del self._sent_ns[next(iter(self._sent_ns))]
        return None if before is None else (time_ns - before) / 1e9

    def is_doubled(self, number: int, interval: float | None) -> bool:
        """Note after which interval a number was retransmitted; return whether that is about twice the one before, or more."""
        before = self._intervals.pop(number, None)
        if interval is not None:
            self._intervals[number] = interval
        if len(self._intervals) > SENT_REMEMBERED:
            del self._intervals[next(iter(self._intervals))]
        return before is not None and interval is not None and interval >= DOUBLED * before

    def data(self, record: Any) -> list[Step]:
        """Return what has gone either way since the record before, and note where the connection is now."""
        now = position(record)
        if now is None:
            return []
        before, self.shown = self.shown or now, now
        self._count_again(record)
        steps = self._outward(before, now, record.time_ns) + self._inward(before, now, record.time_ns)
        return [step for step in steps if step.way == OUT] if self.told_by_segments(record) else steps

    def told_by_segments(self, record: Any) -> bool:
        """Return whether what has arrived up to this record was told segment by segment: the kernel does so in ESTABLISHED."""
        return self._segments and record.from_state == STATE["established"]

    def _count_again(self, record: Any) -> None:
        """Count segments that were retransmitted, since the kernel's count has them too."""
        retransmitted = name_of(KINDS, record.kind) == "retransmit" and not record.flags & FLAG["failed"]
        if retransmitted and name_of(RETRANSMIT_KINDS, record.retransmit_kind) in CARRY_DATA:
            self._retransmitted += record.segments

    def _outward(self, before: Position, now: Position, time_ns: int) -> list[Step]:
        if now.sent > before.sent:
            segments = now.sent_segments - before.sent_segments - self._retransmitted
            self._retransmitted = 0
            return [
                self.step(
                    "data_sent",
                    time_ns,
                    way=OUT,
                    sequence=before.sent,
                    end=now.sent,
                    acknowledgement=now.acked,
                    payload=now.sent - before.sent,
                    segments=max(segments, 1),
                )
            ]
        if now.acked > before.acked:
            return [self.step("acknowledged", time_ns, way=IN, bits=("ACK",), acknowledgement=now.acked)]
        return []

    def _inward(self, before: Position, now: Position, time_ns: int) -> list[Step]:
        if now.received <= before.received:
            return []
        return [
            self.step(
                "data_received",
                time_ns,
                way=IN,
                sequence=before.received,
                end=now.received,
                acknowledgement=now.received,
                payload=now.received - before.received,
                segments=max(now.received_segments - before.received_segments, 1),
            )
        ]
