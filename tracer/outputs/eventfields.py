"""How each field of an event is made from the records' columns, for a whole batch at once. Pure: arrays in, values out.

A function per kind of event that reads record after record was the alternative: numpy is slow one scalar at a time, and a
batch is ten times faster by columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from tracer.ingest.names import name_text
from tracer.model.naming import address_text
from tracer.model.tcp import (
    CALLS,
    CLOSE_REASONS,
    CONTROL_BITS,
    FAILURE_REASONS,
    KINDS,
    RETRANSMIT_KINDS,
    ROLES,
    STATE,
    STATES,
    close_reasons,
    closed_first,
    failure_reasons,
)
from tracer.outputs.onekind import FieldValues, OneKind, without
from tracer.outputs.positionfields import BYTES, POSITION, WINDOWS, initial, payload, position, threshold

NO_RTT_US = 0xFFFFFFFF
"""What the kernel's minimum is before the first sample."""

TIMED = ("syn_sent", "syn_recv", "established", "fin_wait1", "fin_wait2", "closing", "close_wait", "last_ack")
"""States in which a connection spends time, in the order of its life; in CLOSE and LISTEN it only begins and ends."""


def _plain(name: str) -> FieldValues:
    return lambda batch: batch.column(name).tolist()


def _flag(name: str) -> FieldValues:
    return lambda batch: batch.has(name).tolist()


def _unless_zero(name: str) -> FieldValues:
    return lambda batch: without(batch.column(name), batch.column(name) == 0)


def _each(name: str, value_of: Callable[[Any], Any]) -> FieldValues:
    return lambda batch: [value_of(value) for value in batch.column(name).tolist()]


def _named(name: str, names: Sequence[str]) -> FieldValues:
    """Return a column of names by number; `unknown` and numbers without a name are None."""
    table = {number: text for number, text in enumerate(names) if text != "unknown"}
    return lambda batch: [table.get(number) for number in batch.column(name).tolist()]


def _time(batch: OneKind) -> list[str]:
    unix = batch.column("time_ns").astype(np.int64) + batch.context.anchor_ns
    text: list[str] = np.datetime_as_string(unix.view("datetime64[ns]"), timezone="UTC").tolist()
    return text


def _address(name: str) -> FieldValues:
    def column(batch: OneKind) -> list[str]:
        packed = np.ascontiguousarray(batch.column(name)).tobytes()
        families, places = batch.column("family").tolist(), batch.column("netns").tolist()
        rows = enumerate(zip(families, places, strict=True))
        return [_address_of(packed[16 * i : 16 * i + 16], family, netns) for i, (family, netns) in rows]

    return column


def _address_of(packed: bytes, family: int, netns: int) -> str:
    # a link-local one has the name of its interface, which can change
    return address_text(packed, netns) if packed.startswith(b"\xfe") else _lasting(packed, family)


@lru_cache(maxsize=65_536)
def _lasting(packed: bytes, family: int) -> str:
    """Return the text of an address; of IPv4, one that was never set on an IPv6 socket is 0.0.0.0 too."""
    text = address_text(packed)
    return "0.0.0.0" if family == 4 and text == "::" else text  # noqa: S104 - shown, not bound


@lru_cache(maxsize=4_096)
def _process(name: bytes) -> str | None:
    return name_text(name) or None


def _container(batch: OneKind) -> list[str | None]:
    cgroups = batch.column("cgroup").tolist()
    names = {cgroup: (batch.container(cgroup) or None) if cgroup else None for cgroup in set(cgroups)}
    return [names[cgroup] for cgroup in cgroups]


def _handshake_seconds(batch: OneKind) -> list[float | None]:
    ns = batch.column("handshake_ns")
    return without(ns / 1e9, (ns == 0) | batch.has("handshake_unknown") | batch.has("partial"))


def _duration_seconds(batch: OneKind) -> list[float | None]:
    return without(batch.column("duration_ns") / 1e9, batch.has("partial"))


def _rtt_seconds(name: str) -> FieldValues:
    """Return a column of round trips: None before the first sample, and where it is not of this connection's network."""

    def column(batch: OneKind) -> list[float | None]:
        us = batch.column(name)
        return without(us / 1e6, (us == 0) | (us == NO_RTT_US))

    return column


def _remote_address(batch: OneKind) -> list[str | None]:
    """Return the peers' addresses, None of a listener."""
    nobody = (batch.column("remote_port") == 0) & (batch.column("to_state") == STATE["listen"])
    return without(np.array(_address("remote_address")(batch), object), nobody)


def _reason(batch: OneKind) -> list[str]:
    failed = batch.kind == "failure"
    names, rule = (FAILURE_REASONS, failure_reasons) if failed else (CLOSE_REASONS, close_reasons)
    codes = rule(batch.column("from_state"), batch.column("error"), batch.column("flags"))
    return [names[code] for code in codes.tolist()]


def _errno(batch: OneKind) -> list[int | None]:
    """Return the socket's error; of a retransmission why it never left, which the tracepoint has as a negative number."""
    errors = batch.column("error")
    none = ~batch.has("failed") if batch.kind == "retransmit" else errors == 0
    return without(np.abs(errors), none)


def _backlog(batch: OneKind) -> list[int | None]:
    """Return the backlog of each listen()."""
    return without(batch.column("error"), batch.column("to_state") != STATE["listen"])


def _port_range(batch: OneKind) -> list[str | None]:
    """Return the range of ports that a socket without a free one had of its own (IP_LOCAL_PORT_RANGE); 0: no bound."""
    ranges = zip(batch.has("no_port").tolist(), batch.column("segments").tolist(), strict=True)
    return [f"{both & 0xFFFF}-{both >> 16}" if no_port and both else None for no_port, both in ranges]


def _reset_reason(batch: OneKind) -> list[str | None]:
    names = batch.context.reset_reasons
    known, numbers = batch.has("reset_reason").tolist(), batch.column("reset_reason").tolist()
    return [names.get(number) if has else None for has, number in zip(known, numbers, strict=True)]


def _direction(batch: OneKind) -> list[str]:
    """Return which way a reset went; its record has one of the two flags."""
    return ["received" if received else "sent" for received in batch.has("reset_received").tolist()]


def _states(batch: OneKind) -> list[Mapping[str, float] | None]:
    """Return the seconds in each state that was left, by name; None for a socket whose beginning or a change was not seen."""
    visited, to_state = batch.column("visited").tolist(), batch.column("to_state").tolist()
    seconds, partial = (batch.column("state_ns") / 1e9).tolist(), (batch.has("partial") | batch.has("gap")).tolist()
    return [
        None if unknown else {name: spent[number] for number, name in _passed(bits, to)}
        for bits, to, spent, unknown in zip(visited, to_state, seconds, partial, strict=True)
    ]


@lru_cache(maxsize=4_096)
def _passed(visited: int, to_state: int) -> tuple[tuple[int, str], ...]:
    return tuple((STATE[name], name) for name in TIMED if visited >> STATE[name] & 1 and STATE[name] != to_state)


EVENT_FIELDS: Mapping[str, FieldValues] = {
    "time": _time,
    "kind": _named("kind", KINDS),
    "role": _named("role", ROLES),
    "family": _plain("family"),
    "local_address": _address("local_address"),
    "local_port": _unless_zero("local_port"),
    "remote_address": _remote_address,
    "remote_port": _unless_zero("remote_port"),
    "pid": _unless_zero("pid"),
    "process": _each("process", _process),
    "container": _container,
    "netns": _plain("netns"),
    "partial": _flag("partial"),
    "handshake_seconds": _handshake_seconds,
    "fast_open": _flag("fast_open"),
    "reason": _reason,
    "errno": _errno,
    "port_range": _port_range,
    "duration_seconds": _duration_seconds,
    "closed_first": _each("visited", closed_first),
    "direction": _direction,
    "reset_reason": _reset_reason,
    **{name: payload(name) for name in BYTES},
    "sent_segments": _plain("sent_segments"),
    "received_segments": _plain("received_segments"),
    "retransmitted_segments": _plain("retransmitted_segments"),
    "srtt_seconds": _rtt_seconds("srtt_us"),
    "min_rtt_seconds": _rtt_seconds("min_rtt_us"),
    "states": _states,
    "retransmit_kind": _named("retransmit_kind", RETRANSMIT_KINDS),
    "segments": _plain("segments"),
    "sequence": _plain("sequence"),
    "attempt": _plain("attempt"),
    "failed": _flag("failed"),
    "initial_sequence": initial("initial_sequence"),
    "peer_initial_sequence": initial("peer_initial_sequence"),
    "from": _named("from_state", STATES),
    "to": _named("to_state", STATES),
    "backlog": _backlog,
    "call": _named("call", CALLS),
    "result": _plain("error"),
    "descriptor": _each("descriptor", lambda number: None if number < 0 else number),
    "control_bits": _each("control_bits", lambda bits: [name for at, name in enumerate(CONTROL_BITS) if bits >> at & 1]),
    "acknowledgement": _plain("acknowledgement"),
    "payload_bytes": _plain("payload_bytes"),
    **{name: position(name) for name in WINDOWS},
    "slow_start_threshold": threshold,
    "connection": _each("connection", str),
    **{name: position(name) for name in POSITION},
}
"""Every field by its name, in the order in which the formats show them."""
