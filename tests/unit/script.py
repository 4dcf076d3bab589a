"""Connections as readable scripts of timed events, and the records that the kernel side would make of them.

A script has a line for each connection (name, role, addresses, process), and then a line for each event: seconds since the
start, the connection's name, what happened, and the words and values that belong to it. This is a client whose SYN is lost:

    c = client 10.0.0.1:40312 > 10.0.0.2:443 curl/331 fd=5 isn=1000 peer=5000
    +0.000  c  state close>syn_sent                        # a change of state, as tracepoint inet_sock_set_state has it
    +1.010  c  retransmit syn 1                            # a retransmission: its kind and its attempt
    +1.030  c  state syn_sent>established
    +1.030  c  handshake 1.03
    +1.050  c  call send 700        sent=700 unacked=700 out=1    # send() returned 700: all in one segment, no ACK yet
    +1.070  c  state established>fin_wait1   unacked=0            # the ACK has come before the close()
    +1.090  c  state fin_wait1>fin_wait2     fin=acked
    +1.110  c  state fin_wait2>close         peerfin=1
    +1.110  c  close fin_wait2
    +1.111  c  left time_wait 59.9

Nobody writes sequence numbers: with isn=1000 and sent=700 unacked=700, the record of the call has send_unacknowledged 1001 and
send_next 1701, as the kernel would have. `play()` yields the records; tests/unit/outputs/drawing.py draws them as a ladder.

`name=value` sets what stays from there on: sent, unacked, got (bytes), out, in (data segments), fin (sent, acked), peerfin, fd,
flags, and any column of the record by its own name; numbers on the wire follow from these, as bpf/follow.h has them. `at=` is
the relative number of a segment. Time is in seconds. `left` is what the socket table says, `request` a SYN-ACK that is
retransmitted, `lose` is an event that never reaches us: nothing but its numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.unit.addresses import column
from tests.unit.model.builder import SECOND
from tracer.ingest.decode import EVENT, Events
from tracer.model.tcp import CALLS, CONTROL_BITS, FLAG, KIND, RETRANSMIT_KINDS, ROLE, STATE

START = 1000 * SECOND
COUNTS = ("sent", "unacked", "got", "out", "in", "peerfin", "isn", "peer")


@dataclass(frozen=True)
class Left:
    """What the socket table says of a connection after its end."""

    connection: int
    state: str
    remaining: float
    time_ns: int


@dataclass
class Actor:
    """One connection, as the script has it so far."""

    number: int
    columns: dict[str, Any]
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    fin: str = ""
    visited: int = 0
    began_ns: int | None = None
    retransmitted: int = 0


def play(text: str) -> Iterator[Events | Left]:
    """Yield each line's record, as a batch of one, in the order of the script."""
    actors: dict[str, Actor] = {}
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if not words:
            continue
        if words[1] == "=":
            actors[words[0]] = _actor(len(actors) + 1, words[2:])
        else:
            time_ns = START + round(float(words[0]) * 1e6) * 1000
            yield from _line(actors[words[1]], time_ns, words[2], words[3:])


def _actor(number: int, words: list[str]) -> Actor:
    role, local, _, remote, *others = words
    (la, lp), (ra, rp) = (end.rsplit(":", 1) for end in (local, remote))
    columns: dict[str, Any] = {
        "role": ROLE[role],
        "family": 6 if "[" in local else 4,
        "local_address": column(la.strip("[]")),
        "local_port": int(lp),
        "remote_address": column(ra.strip("[]")),
        "remote_port": int(rp),
        "netns": 4026531840,
        "descriptor": -1,
    }
    actor = Actor(number, columns)
    for word in others:
        if "=" in word:
            _set(actor, *word.split("=", 1))
        else:
            name, pid = word.rsplit("/", 1)
            columns |= {"process": name.encode().decode("unicode_escape").encode("latin-1"), "pid": int(pid)}
    return actor


def _set(actor: Actor, name: str, value: str) -> None:
    if name in COUNTS:
        actor.counts[name] = int(value)
    elif name == "fin":
        actor.fin = value
    elif name == "fd":
        actor.columns["descriptor"] = int(value)
    elif name == "flags":
        actor.columns["flags"] = sum(FLAG[flag] for flag in value.split(",") if flag)
    else:
        actor.columns[name] = int(value)


def _line(actor: Actor, time_ns: int, verb: str, words: list[str]) -> Iterator[Events | Left]:
    once = dict(word.split("=", 1) for word in words if word.startswith(("at=", "ack=")))
    for word in words:
        if "=" in word and word.split("=")[0] not in once:
            _set(actor, *word.split("=", 1))
    plain = [word for word in words if "=" not in word]
    if verb == "left":
        yield Left(actor.number, plain[0], float(plain[1]), time_ns)
        return
    if actor.began_ns is None and verb != "request":
        actor.began_ns = time_ns
    own = VERBS[verb](actor, plain, {name: int(value) for name, value in once.items()})
    if verb != "lose":
        yield _record(actor, time_ns, own)


def _record(actor: Actor, time_ns: int, own: dict[str, Any]) -> Events:
    batch = np.zeros(1, EVENT)
    columns = {"connection": actor.number, "time_ns": time_ns, "duration_ns": time_ns - (actor.began_ns or time_ns)}
    columns |= actor.columns | _position(actor, own)
    columns["visited"] = actor.visited
    for name, value in (columns | own).items():
        batch[name] = value
    return batch


def _position(actor: Actor, own: dict[str, Any]) -> dict[str, int]:
    """Return the variables as the kernel would have them, modulo 2^32."""
    before = {STATE["close"], STATE["listen"]} if own["kind"] == KIND["state"] else set()
    if own["from_state"] in before:
        return {"local_port": 0} if own["to_state"] == STATE["syn_sent"] else {}
    counts = actor.counts
    if actor.columns.get("flags", 0) & FLAG["no_syn"]:
        return {}
    if own["from_state"] == STATE["syn_sent"] and own["to_state"] != STATE["established"]:
        return {"initial_sequence": counts["isn"], "send_unacknowledged": counts["isn"], "send_next": _wire(counts["isn"] + 1)}
    una = counts["isn"] + 1 + counts["sent"] - counts["unacked"] + (actor.fin == "acked")
    return {
        "initial_sequence": counts["isn"],
        "peer_initial_sequence": counts["peer"],
        "send_unacknowledged": _wire(una),
        "send_next": _wire(una + counts["unacked"] + (actor.fin == "sent")),
        "receive_next": _wire(counts["peer"] + 1 + counts["got"] + counts["peerfin"]),
        "sent_bytes": counts["sent"],
        "unacknowledged_bytes": counts["unacked"],
        "received_bytes": counts["got"],
        "sent_data_segments": counts["out"] + actor.retransmitted,
        "received_data_segments": counts["in"],
        "retransmitted_segments": actor.retransmitted,
    }


def _wire(number: int) -> int:
    return number % (1 << 32)


def _edge(actor: Actor, words: list[str], _: dict[str, int]) -> dict[str, Any]:
    left, entered = (STATE[name] for name in words[0].split(">"))
    actor.visited |= 1 << left | 1 << entered
    return {"kind": KIND["state"], "from_state": left, "to_state": entered}


def _handshake(actor: Actor, words: list[str], _: dict[str, int]) -> dict[str, Any]:
    left = STATE["syn_recv" if actor.columns["role"] == ROLE["server"] else "syn_sent"]
    ns = round(float(words[0]) * 1e6) * 1000 if words else 0
    return {"kind": KIND["handshake"], "from_state": left, "to_state": STATE["established"], "handshake_ns": ns}


def _retransmit(actor: Actor, words: list[str], once: dict[str, int]) -> dict[str, Any]:
    kind, attempt = words[0], int(words[1])
    state = STATE["syn_sent" if kind == "syn" else "established"]
    number = _wire(actor.counts["isn"] + once.get("at", 0))
    own = {"kind": KIND["retransmit"], "from_state": state, "to_state": state, "segments": 1, "attempt": attempt}
    own |= {"retransmit_kind": RETRANSMIT_KINDS.index(kind), "sequence": number}
    if len(words) > 2:
        return own | {"error": -int(words[2]), "flags": FLAG["failed"]}
    actor.retransmitted += 1
    return own


def _request(actor: Actor, words: list[str], _: dict[str, int]) -> dict[str, Any]:
    own = {"kind": KIND["retransmit"], "from_state": STATE["syn_recv"], "to_state": STATE["syn_recv"], "segments": 1}
    own |= {"retransmit_kind": RETRANSMIT_KINDS.index("syn_ack"), "sequence": actor.counts["isn"], "attempt": int(words[0])}
    nothing = ("pid", "send_unacknowledged", "send_next", "receive_next", "initial_sequence", "peer_initial_sequence")
    return own | {"connection": 0, "process": b""} | dict.fromkeys(nothing, 0)


def _reset(actor: Actor, words: list[str], _: dict[str, int]) -> dict[str, Any]:
    flags = FLAG["reset_received"] if words[0] == "received" else FLAG["reset_sent"]
    state = STATE[words[1]]
    own: dict[str, Any] = {"kind": KIND["reset"], "from_state": state, "to_state": state}
    if len(words) > 2:
        flags |= FLAG["reset_reason"]
        own["reset_reason"] = int(words[2])
    return own | {"flags": flags}


def _stray(actor: Actor, words: list[str], once: dict[str, int]) -> dict[str, Any]:
    return _reset(actor, ["sent", "close", *words], once) | {
        "connection": 0,
        "pid": 0,
        "process": b"",
        "from_state": 0,
        "to_state": 0,
    }


def _late(actor: Actor, words: list[str], once: dict[str, int]) -> dict[str, Any]:
    return _reset(actor, ["sent", *words], once) | {"to_state": STATE["close"]}


def _call(actor: Actor, words: list[str], _: dict[str, int]) -> dict[str, Any]:
    state = STATE[words[2] if len(words) > 2 else "established"]
    return {"kind": KIND["call"], "from_state": state, "to_state": state, "call": CALLS.index(words[0]), "error": int(words[1])}


def _segment(actor: Actor, words: list[str], once: dict[str, int]) -> dict[str, Any]:
    return {
        "kind": KIND["segment"],
        "from_state": STATE["established"],
        "to_state": STATE["established"],
        "control_bits": sum(1 << CONTROL_BITS.index(bit) for bit in words[0].split(",")),
        "payload_bytes": int(words[1]),
        "sequence": _wire(actor.counts["peer"] + once["at"]),
        "acknowledgement": _wire(actor.counts["isn"] + once["ack"]),
    }


def _end(kind: str) -> Any:
    def end(actor: Actor, words: list[str], _: dict[str, int]) -> dict[str, Any]:
        own = {"kind": KIND[kind], "from_state": STATE[words[0]], "to_state": STATE["close"]}
        return own | ({"error": int(words[1])} if len(words) > 1 else {})

    return end


def _listen(_: Actor, words: list[str], __: dict[str, int]) -> dict[str, Any]:
    own = {"kind": KIND["state"], "from_state": STATE["close"], "to_state": STATE["listen"], "error": int(words[0])}
    return own | {"connection": 0, "duration_ns": 0}


VERBS: dict[str, Any] = {
    "listen": _listen,
    "state": _edge,
    "lose": _edge,
    "handshake": _handshake,
    "retransmit": _retransmit,
    "request": _request,
    "reset": _reset,
    "stray": _stray,
    "late": _late,
    "call": _call,
    "segment": _segment,
    "failure": _end("failure"),
    "close": _end("close"),
}
