"""Which connection a record belongs to, and the steps of all of them: batches in, steps out, in a bounded memory.

Records know their connection by its number. Two kinds have none: a SYN-ACK that is retransmitted belongs to a request, which
becomes a connection when the handshake's last ACK comes, and a reset may answer a segment that fits no socket. They are
matched by their addresses and ports. An ended connection is remembered for a while, since the application's last call and the
socket table's word on TIME_WAIT come after the end.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from tracer.ingest.decode import EVENT, Events
from tracer.model.follow import recordsteps
from tracer.model.follow.bothends import Pairs
from tracer.model.follow.pace import Samples
from tracer.model.follow.steps import Step
from tracer.model.follow.track import Track, name_of
from tracer.model.tcp import FLAG, KINDS, STATE

MAX_OPEN = 4096
MAX_REQUESTS = 256
MAX_ENDED = 256

Ends = tuple[int, tuple[int, ...], int, tuple[int, ...], int]
"""Namespace, local address and port, remote address and port."""


class Followed:
    """All connections that are told of. ended: how many have come to their end; passed_over: for which there was no room.

    segments: whether received segments have records. positions: whether records say how far a connection has come. limit: how
    many may be open at once.
    """

    def __init__(
        self, reset_reasons: Mapping[int, str], *, segments: bool = False, positions: bool = True, limit: int = MAX_OPEN
    ) -> None:
        self.ended = 0
        self.passed_over = 0
        self._reset_reasons = reset_reasons
        self._segments = segments
        self._positions = positions
        self._limit = limit
        self._open: dict[int, Track] = {}
        self._samples: dict[int, Samples] = {}
        self._requests: OrderedDict[Ends, Track] = OrderedDict()
        self._ended: OrderedDict[int, Track] = OrderedDict()
        self._told = 0
        self._pairs = Pairs()

    def add(self, events: Events) -> list[Step]:
        """Return the steps that a batch tells, in its order."""
        return self._pairs.join([step for record in _records(events) for step in self._take(record)])

    def time_wait(self, connection: int, state: str, remaining: float, time_ns: int) -> list[Step]:
        """Return what the socket table says of an ended connection: the state there, and the seconds that remain of it."""
        track = self._ended.get(connection)
        return self._pairs.join(recordsteps.time_wait(track, state, remaining, time_ns)) if track else []

    def _take(self, record: Any) -> list[Step]:
        if recordsteps.is_listening(record):
            self._told += 1
            return [recordsteps.listening(self._told, record)]
        track, steps = self._find(record)
        if track is None:
            return steps
        steps += recordsteps.steps_of(track, record, self._reset_reasons)
        kind = name_of(KINDS, record.kind)
        if kind == "handshake":
            self._pairs.note(track, record)
        if kind == "segment" and record.connection in self._open:
            self._samples.setdefault(record.connection, Samples()).add(steps[-1].facts)
        elif kind in {"close", "failure"}:
            steps += self._end(track, record)
        return steps

    def _find(self, record: Any) -> tuple[Track | None, list[Step]]:
        """Return the connection of a record, and the step with which the telling of a new one begins."""
        if not record.connection:
            return self._find_request(record)
        track = self._open.get(record.connection) or self._ended.get(record.connection)
        if name_of(KINDS, record.kind) == "handshake" and (request := self._requests.pop(_ends(record), None)):
            self._open[record.connection] = request
            return request, []
        if track:
            return track, []
        if name_of(KINDS, record.kind) in {"call", "reset"} and STATE["close"] in {record.from_state, record.to_state}:
            return None, []  # of one that has ended, long ago
        if len(self._open) >= self._limit:
            self.passed_over += record.from_state in {STATE["close"], STATE["listen"]}
            return None, []
        track = self._open[record.connection] = self._new(record, _beginning(record))
        return track, [] if track.begins == "accepted" else [self._first_step(track, record)]

    def _find_request(self, record: Any) -> tuple[Track, list[Step]]:
        ends = _ends(record)
        if track := self._requests.get(ends):
            return track, []
        if name_of(KINDS, record.kind) == "reset":
            track = self._new(record, "stray")
            return track, [self._first_step(track, record)]
        track = self._requests[ends] = self._new(record, "half_open")
        if len(self._requests) > MAX_REQUESTS:
            self._requests.popitem(last=False)
        return track, [self._first_step(track, record)]

    def _new(self, record: Any, begins: str) -> Track:
        self._told += 1
        return Track(self._told, record, begins, segments=self._segments, positions=self._positions)

    def _first_step(self, track: Track, record: Any) -> Step:
        entered = "" if track.begins in {"opened", "restored", "stray"} else track.state
        return track.step(track.begins, record.time_ns, entered=entered)

    def _end(self, track: Track, record: Any) -> list[Step]:
        if self._open.pop(record.connection, None) is None:
            return []
        self.ended += 1
        self._ended[record.connection] = track
        if len(self._ended) > MAX_ENDED:
            _, forgotten = self._ended.popitem(last=False)
            self._pairs.forget(forgotten.who.number)
        samples = self._samples.pop(record.connection, None)
        return [track.step("measured", record.time_ns, facts=samples.series())] if samples else []


def _beginning(record: Any) -> str:
    """Return how the telling of a connection begins with this record."""
    if record.flags & FLAG["partial"]:
        return "restored" if record.flags & FLAG["repair"] and record.to_state != STATE["close"] else "older"
    if name_of(KINDS, record.kind) == "state":
        edge = {STATE["close"]: "opened", STATE["listen"]: "accepted"}
        return edge.get(record.from_state, "joined")
    return "joined"


def _ends(record: Any) -> Ends:
    return (record.netns, tuple(record.local_address), record.local_port, tuple(record.remote_address), record.remote_port)


def _records(events: Events) -> Iterator[Any]:
    """Yield each record with its fields as attributes, in Python's own numbers; arrays as lists, the process as bytes."""
    names = EVENT.names or ()
    for values in events.tolist():
        yield SimpleNamespace(**dict(zip(names, values, strict=True)))
