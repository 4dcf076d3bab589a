"""TCP's words and the meaning of its edges: names by number, and why a connection failed or was closed, as two tables.

Theory of operation. The kernel says how a connection ended with three things: the state it left for CLOSE, the socket's error
(sk_err) at that moment, and whether a reset was seen before or right after (ingest/aborts.py). None of them is enough alone:

* sk_err 0 in SYN_SENT is the application giving up (what Go and asyncio do at their own deadline), unless connect() itself
  failed before a SYN was sent: for want of a local port, or of a route from that port, say (bpf/failure.h). An ICMP message
  that came while the socket was in use is not in sk_err; the record has its error all the same.
* sk_err 104 is a reset by the peer, 32 the same one in CLOSE_WAIT, where the kernel reports a broken pipe. But 104 is also what
  disconnecting sets on its own socket, so it counts as ours when only a reset sent was seen.
* sk_err 0 when leaving ESTABLISHED or CLOSE_WAIT is an abort by this side: close() with unread data, or linger 0. An orderly
  close would have passed through FIN_WAIT1 or LAST_ACK. The reset itself leaves just *after* the transition.
* FIN_WAIT2 -> CLOSE and CLOSING -> CLOSE are the way into TIME_WAIT, a smaller object of the kernel's that never shows up as a
  transition: normal, whether or not there was room for such an object. It may come before the peer's FIN, when an orphan waits
  for it as such an object.
* sk_err 0 when leaving FIN_WAIT1, CLOSING or LAST_ACK is orderly once all is acknowledged: both FINs are through. If not, and
  no reset was sent, the kernel has dropped the socket (too many orphans, a namespace that goes away) or the application has,
  with linger 0: `other`.
* A socket that is closed in TCP_REPAIR's mode (a checkpoint) sends nothing: its connection goes on elsewhere, so `other`.
* sk_err 103 is an abort from outside (`ss -K`), which sends a reset unless the peer has our FIN already. sk_err 110 is the
  kernel's own patience, in any state.
* An ICMP error that outlived every retransmission (113, 101) ends an open connection as `other`: neither side reset it.

Each table is read from the top; the first row that fits is the reason. Rows match arrays, so a batch costs a few comparisons
per row and nothing per event. Numbers come from include/uapi/asm-generic/errno.h by way of the errno module.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.decode import LAYOUT
from tracer.ingest.transposed import RecordColumns

Codes = NDArray[np.uint8]


def _names(enum: str, prefix: str) -> tuple[str, ...]:
    """Return the lower-case names of an enumeration of event.h by number; numbers without a name are `unknown`."""
    numbers = LAYOUT.enums[enum]
    names = ["unknown"] * (max(numbers.values()) + 1)
    for name, number in numbers.items():
        names[number] = name.removeprefix(prefix).lower()
    return tuple(names)


STATES = _names("tcp_state", "STATE_")
ROLES = _names("role", "ROLE_")
KINDS = _names("event_kind", "EVENT_")
RETRANSMIT_KINDS = _names("retransmit_kind", "RETRANSMIT_")
CALLS = _names("call", "CALL_")
CONTROL_BITS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")
"""RFC 9293, section 3.1, from the lowest bit."""

STATE = {name: number for number, name in enumerate(STATES)}
ROLE = {name: number for number, name in enumerate(ROLES)}
KIND = {name: number for number, name in enumerate(KINDS)}
FLAG = {name.removeprefix("FLAG_").lower(): number for name, number in LAYOUT.enums["event_flag"].items()}
CELL = {name.removeprefix("COUNTER_").lower(): number for name, number in LAYOUT.enums["counter"].items()}

FAILURE_REASONS = ("refused", "timed_out", "host_unreachable", "net_unreachable", "reset", "canceled", "no_port", "other")
CLOSE_REASONS = ("normal", "reset_received", "reset_sent", "timed_out", "other")

ANY = None


@dataclass(frozen=True)
class ReasonRule:
    """One row of a table of reasons; ANY fits everything.

    states: the states left for CLOSE that fit. error: sk_err. flags: bits of event_flag that must all be set.
    """

    reason: str
    error: int | None = ANY
    flags: int = 0
    states: tuple[str, ...] | None = ANY


FAILURES = (
    ReasonRule("no_port", 0, flags=FLAG["no_syn"] | FLAG["no_port"]),
    ReasonRule("other", 0, flags=FLAG["no_syn"]),
    ReasonRule("refused", errno.ECONNREFUSED),
    ReasonRule("timed_out", errno.ETIMEDOUT),
    ReasonRule("host_unreachable", errno.EHOSTUNREACH),
    ReasonRule("net_unreachable", errno.ENETUNREACH),
    ReasonRule("reset", errno.ECONNRESET),
    ReasonRule("reset", 0, flags=FLAG["reset_received"]),
    ReasonRule("canceled", 0),
)

CLOSES = (
    ReasonRule("other", flags=FLAG["repair"]),
    ReasonRule("timed_out", errno.ETIMEDOUT),
    ReasonRule("reset_received", flags=FLAG["reset_received"]),
    ReasonRule("reset_sent", errno.ECONNABORTED, flags=FLAG["reset_sent"]),
    ReasonRule("reset_sent", errno.ECONNRESET, flags=FLAG["reset_sent"]),
    ReasonRule("reset_sent", errno.EPIPE, flags=FLAG["reset_sent"]),
    ReasonRule("reset_received", errno.ECONNRESET),
    ReasonRule("reset_received", errno.EPIPE),
    ReasonRule("reset_sent", 0, flags=FLAG["reset_sent"]),
    ReasonRule("reset_sent", 0, states=("established", "close_wait")),
    ReasonRule("other", 0, flags=FLAG["unexplained"], states=("fin_wait1", "closing", "last_ack")),
    ReasonRule("normal", 0),
)


def failure_reasons(from_state: NDArray[np.uint8], error: NDArray[np.int32], flags: NDArray[np.uint16]) -> Codes:
    """Return why handshakes failed: indices into FAILURE_REASONS, shape (n,), uint8.

    Arguments, each of shape (n,), are those fields of EVENT_FAILURE records.
    """
    return _first_match(FAILURES, FAILURE_REASONS, from_state, error, flags)


def close_reasons(from_state: NDArray[np.uint8], error: NDArray[np.int32], flags: NDArray[np.uint16]) -> Codes:
    """Return why connections ended: indices into CLOSE_REASONS, shape (n,), uint8.

    Arguments, each of shape (n,), are those fields of EVENT_CLOSE records.
    """
    return _first_match(CLOSES, CLOSE_REASONS, from_state, error, flags)


def is_restored(events: RecordColumns) -> NDArray[np.bool_]:
    """Return which state records, shape (n,), say that TCP_REPAIR has restored a connection: it is open from there on."""
    restored: NDArray[np.bool_] = (events["flags"] & FLAG["repair"] != 0) & (events["to_state"] == STATE["established"])
    return restored


@lru_cache
def closed_first(visited: int) -> str | None:
    """Return who sent the first FIN (local, remote, both), from the bits of the states passed through; None: nobody did."""
    been = {name for name, number in STATE.items() if visited >> number & 1}
    if "closing" in been:
        return "both"
    if been & {"fin_wait1", "fin_wait2"}:
        return "local"
    return "remote" if been & {"close_wait", "last_ack"} else None


def leaves_time_wait(flags: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Return which closes have left a timewait object behind, shape (n,), from the flags of EVENT_CLOSE records.

    The object of a socket without a process may wait for the peer's FIN at first.
    """
    leaves: NDArray[np.bool_] = flags & FLAG["time_wait"] != 0
    return leaves


def _first_match(
    rules: Sequence[ReasonRule],
    reasons: Sequence[str],
    state: NDArray[np.uint8],
    error: NDArray[np.int32],
    flags: NDArray[np.uint16],
) -> Codes:
    codes = np.empty(len(state), np.uint8)
    codes.fill(reasons.index("other"))
    bits, failed = int(np.bitwise_or.reduce(flags)), np.count_nonzero(error) > 0
    possible = [rule for rule in rules if rule.flags & ~bits == 0 and (failed or not rule.error)]
    for rule in reversed(possible):
        fits = _fits(rule, state, error if failed else None, flags)
        codes[fits] = reasons.index(rule.reason)
    return codes


def _fits(
    rule: ReasonRule, state: NDArray[np.uint8], error: NDArray[np.int32] | None, flags: NDArray[np.uint16]
) -> NDArray[np.bool_] | bool:
    """Return which edges fit; error: None where all are 0, and so is the rule's."""
    fits: NDArray[np.bool_] | bool = (flags & rule.flags) == rule.flags if rule.flags else True
    if rule.error is not None and error is not None:
        fits &= error == rule.error
    if rule.states is not None:
        fits &= _are_among(rule.states).take(state)
    return fits


@lru_cache
def _are_among(states: tuple[str, ...]) -> NDArray[np.bool_]:
    """Return whether a state is one of these, by its number."""
    table = np.zeros(256, bool)
    table[[STATE[name] for name in states]] = True
    return table
