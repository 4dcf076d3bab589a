"""The beginning of a connection's life: what its records tell of SYN, SYN-ACK and ACK, as steps.

Most of it is learned late. A client's SYN has a number only when the next record comes, and a server's socket is made when the
handshake is done. See model/follow/recordsteps.py for all that follows, and for the facts of each step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracer.model.follow.steps import IN, OUT, Step
from tracer.model.follow.track import Track, name_of
from tracer.model.tcp import FLAG, KINDS, ROLES, STATES

SAME_NS = 50_000_000
"""Two ways to the time of one SYN-ACK, a tracepoint and a round-trip sample, differ by less, on an emulated machine too.

The one before it left a second earlier (TCP_TIMEOUT_INIT), or half a second where a second SYN was answered
(net.ipv4.tcp_invalid_ratelimit).
"""


def our_syn(track: Track, record: Any) -> list[Step]:
    """Return a client's SYN, as soon as its number is known; one that waited for send() when its time may be."""
    if track.syn_told or not (record.initial_sequence or record.send_next) or is_timed_next(record):
        return []
    track.syn_told = True
    sent_ns = syn_time(track, record)
    if sent_ns is not None:
        track.sent(record.initial_sequence, sent_ns)
    return [track.step("syn", sent_ns, entered="syn_sent", way=OUT, bits=("SYN",), initial=record.initial_sequence)]


def is_timed_next(record: Any) -> bool:
    """Return whether the record of a handshake comes next, which says when a SYN left that waited for send()."""
    return bool(
        record.flags & FLAG["deferred"]
        and name_of(KINDS, record.kind) == "state"
        and name_of(STATES, record.to_state) == "established"
    )


def syn_time(track: Track, record: Any) -> int | None:
    """Return when our SYN left: at connect(), or at the first send(), of which only the handshake's time tells, if anything."""
    if not record.flags & FLAG["deferred"]:
        return track.base_ns
    return handshake_start(record) if name_of(KINDS, record.kind) == "handshake" else None


def handshake(track: Track, record: Any) -> list[Step]:
    """Return what completes a handshake; of a server all of it."""
    facts: dict[str, Any] = {"fast_open": bool(record.flags & FLAG["fast_open"])}
    if track.who.role == "server" and not track.peer_initial_told:
        facts["peer_initial"] = record.peer_initial_sequence
    if track.who.role == "server" or track.state != "syn_sent":
        return last_ack(track, record, facts)
    fields = track.enter("established", record.time_ns)
    peers = record.peer_initial_sequence
    return [
        track.step("syn_ack_received", record.time_ns, way=IN, bits=("SYN", "ACK"), initial=peers, facts=facts, **fields),
        track.step("ack_sent", record.time_ns, way=OUT, bits=("ACK",), sequence=1, acknowledgement=1, inferred=True),
    ]


def last_ack(track: Track, record: Any, facts: Mapping[str, Any]) -> list[Step]:
    """Return the ACK that completes a handshake on the side that was asked."""
    late = name_of(STATES, record.to_state) != "established"  # it came unseen, after close() and before this record
    time_ns, fields = (None, {}) if late else (record.time_ns, track.enter("established", record.time_ns))
    return [track.step("ack_received", time_ns, way=IN, bits=("ACK",), sequence=1, acknowledgement=1, facts=facts, **fields)]


def requests(track: Track, record: Any) -> list[Step]:
    """Return the SYN and the SYN-ACK that were before a server's socket, when they were.

    A round trip that was taken from a later SYN-ACK says nothing of the first one; the later one has been told. A Fast Open
    socket is there from the SYN on, and much can happen to it before the handshake is done.
    """
    if not asked_before(track, record):
        return []
    track.requests_told = True
    sent_ns, again_ns = syn_ack_time(track, record), track.syn_ack_again_ns
    if sent_ns is not None and again_ns is None:
        track.base_ns = sent_ns
    track.state, track.since_ns = "syn_recv", sent_ns
    if again_ns is not None and (sent_ns is None or sent_ns > again_ns - SAME_NS):
        return [track.step("accepted", again_ns)]
    track.peer_initial_told = True
    ours, peers = record.initial_sequence, record.peer_initial_sequence
    return [
        track.step("accepted", sent_ns),
        track.step("syn_received", sent_ns, entered="syn_recv", way=IN, bits=("SYN",), inferred=True, initial=peers),
        track.step("syn_ack_sent", sent_ns, way=OUT, bits=("SYN", "ACK"), inferred=True, initial=ours),
    ]


def asked_before(track: Track, record: Any) -> bool:
    """Return whether this record is the first to say what was before a server's socket; that of its birth says nothing."""
    if track.requests_told or name_of(ROLES, record.role) != "server" or name_of(STATES, record.from_state) == "listen":
        return False
    if name_of(KINDS, record.kind) == "handshake":
        return True
    return track.begins == "accepted" and name_of(STATES, record.to_state) != "established"  # whose handshake comes next


def syn_ack_time(track: Track, record: Any) -> int | None:
    """Return when our SYN-ACK left, None: not known."""
    if name_of(KINDS, record.kind) != "handshake":
        return track.base_ns  # Fast Open: the socket was made at the SYN
    return handshake_start(record)


def handshake_start(record: Any) -> int | None:
    """Return the moment from which a handshake was timed, None: it was not."""
    if not record.handshake_ns or record.flags & (FLAG["handshake_unknown"] | FLAG["partial"]):
        return None
    return int(record.time_ns - record.handshake_ns)
