"""A connection's life: what each record of it tells, as steps.

Theory of operation. A state record says that an edge of TCP's diagram was taken, and the edge says which segment was the cause:
FIN_WAIT1 to FIN_WAIT2 is the acknowledgement of our FIN, and nothing else is. What must have been there besides (the peer's
SYN, our acknowledgement of its FIN) is a step that is `inferred`. Some things are learned late and told with their true time:
our SYN's number and port with whatever comes next; a server's SYN-ACK from the round trip that the handshake's last ACK has
closed. Facts by kind of step:

  syn_ack_received, ack_received  fast_open; peer_initial: the number of its SYN, when no step has told it
  retransmission  kind, attempt, segments, interval (seconds since it was sent before, None: not seen),
                  doubled (the interval, since the attempt before), error (why it never left, else 0)
  reset_sent      cause: the kernel's word, "" for none
  listening       backlog
  call            call, result; process and descriptor are the caller's
  failed          reason, error; no_syn: nothing was sent
  closed          reason, error, sent, received, unacknowledged, retransmitted, closed_first, time_wait
  time_wait, fin_awaited  remaining: seconds
  segment         the MEASURES of model/follow/pace.py
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tracer.ingest.names import name_text
from tracer.model.follow.openingsteps import handshake, our_syn, requests
from tracer.model.follow.pace import measures
from tracer.model.follow.position import NUMBERS
from tracer.model.follow.steps import IN, OUT, Step
from tracer.model.follow.track import Track, name_of, who_of
from tracer.model.tcp import (
    CALLS,
    CLOSE_REASONS,
    CONTROL_BITS,
    FAILURE_REASONS,
    FLAG,
    KINDS,
    RETRANSMIT_KINDS,
    STATES,
    close_reasons,
    closed_first,
    failure_reasons,
)

FIN_LEAVES = {("established", "fin_wait1"), ("syn_recv", "fin_wait1"), ("close_wait", "last_ack")}
FIN_ARRIVES = {("established", "close_wait"), ("syn_recv", "close_wait"), ("fin_wait1", "closing"), ("fin_wait2", "close")}
ACK_OF_FIN = {("fin_wait1", "fin_wait2"), ("closing", "close"), ("last_ack", "close")}


def steps_of(track: Track, record: Any, reset_reasons: Mapping[int, str]) -> list[Step]:
    """Return the steps that a record tells of its connection. reset_reasons: the running kernel's words."""
    track.learn(record)
    kind = name_of(KINDS, record.kind)
    steps = our_syn(track, record) + requests(track, record)
    if kind in {"state", "close", "failure"}:
        steps += track.missed(record)
    data = track.data(record)
    told = reset(track, record, reset_reasons) if kind == "reset" else TAKE[kind](track, record) if kind in TAKE else []
    sends = kind == "call" and name_of(CALLS, record.call) == "send"
    return steps + (told + data if sends else data + told)  # a call comes before what it has sent


def time_wait(track: Track, state: str, remaining: float, time_ns: int) -> list[Step]:
    """Return the steps that the dump of sockets tells after the end: the state there, and the seconds that remain of it."""
    facts = {"remaining": remaining}
    if state == "close":
        return [track.step("time_wait_over", time_ns, **track.enter("close", time_ns))]
    if state != "time_wait":
        return [track.step("fin_awaited", time_ns, facts=facts)]
    if track.state == "time_wait":
        return [track.step("time_wait", time_ns, facts=facts)]
    steps = [] if track.peer_fin else [track.step("fin_received", time_ns, way=IN, bits=("FIN", "ACK"), inferred=True)]
    track.peer_fin = True
    entered = track.enter("time_wait", time_ns)
    return [*steps, track.step("time_wait", time_ns, facts=facts, **(entered if entered["left"] != "close" else _ENTERED))]


_ENTERED = {"entered": "time_wait"}


def state_change(track: Track, record: Any) -> list[Step]:
    """Return what has caused a change of state; the handshake's and the last one have records of their own."""
    left, entered = name_of(STATES, record.from_state), name_of(STATES, record.to_state)
    if entered == "established" and record.flags & FLAG["repair"]:
        track.enter(entered, record.time_ns)  # restored: no segment was the cause
    if entered in {"established", left}:  # close() after shutdown() sets the state that is set already
        return []
    fields = track.enter(entered, record.time_ns) if entered != "close" else {}
    if (left, entered) == ("syn_sent", "syn_recv"):
        return [track.step("syn_received", record.time_ns, way=IN, bits=("SYN",), **fields)]
    if (left, entered) in FIN_LEAVES:
        return [our_fin(track, record, fields)]
    if (left, entered) in FIN_ARRIVES and (entered != "close" or (track.shown and track.shown.peer_fin)):
        return peer_fin(track, record, fields)
    if (left, entered) in ACK_OF_FIN and (track.shown.fin_acknowledged if track.shown else entered == "fin_wait2"):
        number = track.shown.fin + 1 if track.shown else None
        return [track.step("fin_acknowledged", record.time_ns, way=IN, bits=("ACK",), acknowledgement=number, **fields)]
    return []


def our_fin(track: Track, record: Any, fields: Mapping[str, Any]) -> Step:
    """Return our FIN, with the number behind the last byte."""
    if not track.shown:
        return track.step("fin_sent", record.time_ns, way=OUT, bits=("FIN", "ACK"), **fields)
    number = track.shown.fin
    track.sent((record.initial_sequence + number) % NUMBERS, record.time_ns)
    expected = track.shown.received + track.shown.peer_fin
    return track.step(
        "fin_sent", record.time_ns, way=OUT, bits=("FIN", "ACK"), sequence=number, acknowledgement=expected, **fields
    )


def peer_fin(track: Track, record: Any, fields: Mapping[str, Any]) -> list[Step]:
    """Return the peer's FIN and our answer to it."""
    track.peer_fin = True
    number = track.shown.received if track.shown else None
    after = None if number is None else number + 1
    arrow: dict[str, Any] = {} if track.told_by_segments(record) else {"way": IN, "bits": ("FIN", "ACK")}
    return [
        track.step("fin_received", record.time_ns, sequence=number, **arrow, **fields),
        track.step("fin_answered", record.time_ns, way=OUT, bits=("ACK",), acknowledgement=after, inferred=True),
    ]


def retransmit(track: Track, record: Any) -> list[Step]:
    """Return a segment that was retransmitted."""
    kind = name_of(RETRANSMIT_KINDS, record.retransmit_kind)
    interval = track.sent(record.sequence, record.time_ns)
    if kind == "syn_ack" and track.syn_ack_again_ns is None:
        track.syn_ack_again_ns = record.time_ns
    facts = {
        "kind": kind,
        "attempt": record.attempt,
        "segments": record.segments,
        "interval": interval,
        "doubled": track.is_doubled(record.sequence, interval),
        "error": abs(record.error) if record.flags & FLAG["failed"] else 0,
    }
    bits = {"syn": ("SYN",), "syn_ack": ("SYN", "ACK"), "fin": ("FIN", "ACK")}.get(kind, ())
    numbers = {"initial": record.sequence} if kind in {"syn", "syn_ack"} else {}
    if not numbers and track.shown:
        numbers = {"sequence": track.shown.of_ours(record.sequence)}
    return [track.step("retransmission", record.time_ns, way=OUT, bits=bits, facts=facts, **numbers)]


def reset(track: Track, record: Any, reset_reasons: Mapping[int, str]) -> list[Step]:
    """Return a reset, with its cause when it is ours."""
    if record.flags & FLAG["reset_received"]:
        return [track.step("reset_received", record.time_ns, way=IN, bits=("RST",))]
    cause = reset_reasons.get(record.reset_reason, "") if record.flags & FLAG["reset_reason"] else ""
    return [track.step("reset_sent", record.time_ns, way=OUT, bits=("RST",), facts={"cause": cause})]


def call(track: Track, record: Any) -> list[Step]:
    """Return what an application got from the kernel."""
    facts = {"call": name_of(CALLS, record.call), "result": record.error}
    caller = replace(track.who, pid=record.pid, process=name_text(record.process), descriptor=record.descriptor)
    accepted = [] if track.taken else [track.step("taken", None, inferred=True)]
    track.taken = True
    return [*accepted, replace(track.step("call", record.time_ns, facts=facts), who=caller)]


def is_listening(record: Any) -> bool:
    """Return whether the record is that of a listen()."""
    return name_of(KINDS, record.kind) == "state" and name_of(STATES, record.to_state) == "listen"


def listening(number: int, record: Any) -> Step:
    """Return a listen(), with the backlog that it was called with, or net.core.somaxconn where that is less."""
    return Step("listening", who_of(number, record), None, facts={"backlog": record.error}, time_ns=record.time_ns)


def segment(track: Track, record: Any) -> list[Step]:
    """Return a segment that has arrived."""
    bits = tuple(name for at, name in enumerate(CONTROL_BITS) if record.control_bits >> at & 1)
    numbers: dict[str, int] = {}
    if track.shown:
        start = track.shown.of_theirs(record.sequence)
        numbers = {"sequence": start, "end": start + record.payload_bytes}
        numbers["acknowledgement"] = track.shown.of_ours(record.acknowledgement)
    return [
        track.step(
            "segment",
            record.time_ns,
            way=IN,
            bits=bits,
            payload=record.payload_bytes,
            segments=1,
            facts=measures(record),
            **numbers,
        )
    ]


def failure(track: Track, record: Any) -> list[Step]:
    """Return the end of an attempt."""
    (code,) = failure_reasons(*_columns(record))
    fields = track.enter("close", record.time_ns)
    waited = record.flags & FLAG["deferred"] and not record.sent_segments
    no_syn = bool(waited or record.flags & FLAG["no_syn"])
    facts = {"reason": FAILURE_REASONS[code], "error": record.error, "no_syn": no_syn}
    return [track.step("failed", record.time_ns, facts=facts, **fields)]


def state_left(track: Track, record: Any) -> str:
    """Return the state that goes on after the end of the socket: TIME_WAIT, or an orphan's FIN_WAIT2, in a smaller object."""
    if not record.flags & FLAG["time_wait"]:
        return "close"
    if track.peer_fin:
        return "time_wait"
    return "fin_wait2" if track.shown and track.state == "fin_wait2" else "close"


def close(track: Track, record: Any) -> list[Step]:
    """Return the end of a connection."""
    columns = _columns(record)
    codes = close_reasons(*columns)
    state = state_left(track, record)
    fields = track.enter(state, record.time_ns) if state != track.state else {}
    facts = {
        "reason": CLOSE_REASONS[codes[0]],
        "error": record.error,
        "sent": record.sent_bytes,
        "received": record.received_bytes,
        "unacknowledged": record.unacknowledged_bytes,
        "retransmitted": record.retransmitted_segments,
        "closed_first": closed_first(record.visited),
        "time_wait": bool(record.flags & FLAG["time_wait"]),
    }
    return [track.step("closed", record.time_ns, facts=facts, **fields)]


TAKE: Mapping[str, Callable[[Track, Any], list[Step]]] = {
    "state": state_change,
    "handshake": handshake,
    "retransmit": retransmit,
    "call": call,
    "segment": segment,
    "failure": failure,
    "close": close,
}


def _columns(record: Any) -> tuple[Any, Any, Any]:
    return np.array([record.from_state]), np.array([record.error]), np.array([record.flags])
