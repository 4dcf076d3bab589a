"""What the kernel says of each open connection beyond its ends: struct tcp_info and the sizes of its buffers, out of replies.

Facts: include/uapi/linux/tcp.h, inet_diag.h and sock_diag.h; tcp_get_info() in net/ipv4/tcp.c. A message of sock_diag is a
fixed part (sockdiag.py) and attributes. Connections of one kind have the same attributes at the same places, so that these are
found once for all of them and copied as arrays. To read attributes message by message would take ten times as long.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

INET_DIAG_INFO, INET_DIAG_SKMEMINFO, INET_DIAG_CGROUP_ID = 2, 7, 21
WITH_DETAILS = 1 << INET_DIAG_INFO - 1 | 1 << INET_DIAG_SKMEMINFO - 1
"""The extensions that ask for struct tcp_info and for the sizes of buffers; kernels since Linux 5.8 tell the cgroup unasked."""

_U1 = ("tcp_state", "congestion_state", "retransmits", "probes", "backoff", "options", "scales", "app_limited")
_TIMES_AND_SIZES = ("rto_us", "ato_us", "send_mss", "receive_mss")
_SEGMENTS = ("unacknowledged_segments", "sacked_segments", "lost_segments", "retransmitting_segments", "fackets")
_LAST = ("last_sent_ms", "last_ack_sent_ms", "last_received_ms", "last_ack_received_ms")
_METRICS = ("path_mtu", "receive_threshold", "rtt_us", "rtt_variation_us", "slow_start_threshold", "congestion_window")
_MORE = ("advertised_mss", "reordering", "receive_rtt_us", "receive_space", "retransmitted_segments")
_U4 = (*_TIMES_AND_SIZES, *_SEGMENTS, *_LAST, *_METRICS, *_MORE)

INFO = np.dtype(
    [
        *((name, "u1") for name in _U1),
        *((name, "=u4") for name in _U4),
        *((name, "=u8") for name in ("pacing_rate", "max_pacing_rate", "acknowledged_bytes", "received_bytes")),
        *((name, "=u4") for name in ("sent_segments", "received_segments", "unsent_bytes", "min_rtt_us")),
        *((name, "=u4") for name in ("received_data_segments", "sent_data_segments")),
        *((name, "=u8") for name in ("delivery_rate", "busy_us", "window_limited_us", "buffer_limited_us")),
        *((name, "=u4") for name in ("delivered", "delivered_ce")),
        *((name, "=u8") for name in ("transmitted_bytes", "retransmitted_bytes")),
        *((name, "=u4") for name in ("dsacks", "reorderings_seen", "out_of_order_segments", "send_window")),
    ]
)
"""struct tcp_info in place, as far as Linux 5.8 has it. Bit 0 of app_limited is tcpi_delivery_rate_app_limited."""

DETAIL = np.dtype(
    [
        ("place", "=u4"),
        ("drops", "=u4"),
        ("cgroup", "=u8"),
        ("receive_buffer", "=u4"),
        ("send_buffer", "=u4"),
        ("send_memory", "=u4"),
        ("info", INFO),
    ]
)
"""Of one socket: its place among the sockets that were read with it, struct tcp_info, and what else its attributes tell.

send_memory: bytes of the send buffer that are taken, with what it costs to keep them. drops: of a listener, connections that
it had no room for, and other segments that it dropped (sk_drops).
"""

Details = NDArray[np.void]
"""Shape (n,), dtype DETAIL, by place. Timewait objects have none."""

NO_DETAILS: Details = np.empty(0, DETAIL)

_MEMORY = np.dtype([("receive_allocated", "=u4"), ("receive_buffer", "=u4"), ("send_allocated", "=u4"), ("send_buffer", "=u4")])
_QUEUED, _DROPS = 5, 8
"""Places of SK_MEMINFO_WMEM_QUEUED and SK_MEMINFO_DROPS, in words; the first four are _MEMORY."""

_HEADER_WORDS = 22
"""Of a message: nlmsghdr and inet_diag_msg, in units of 4 bytes, to which netlink aligns all."""


def details(reply: memoryview, offsets: NDArray[np.intp], lengths: NDArray[np.intp]) -> Details:
    """Return what the messages at these offsets (bytes, shape (n,)) of these lengths tell of their sockets, by place.

    Messages that are too short to have a struct tcp_info are passed over, and so is a struct that is shorter than INFO.
    """
    words = np.frombuffer(reply[: len(reply) // 4 * 4], "=u4")
    long = np.flatnonzero(lengths >= 4 * (_HEADER_WORDS + 1) + INFO.itemsize)
    parts = [
        _filled(words, places, offsets[places] // 4, found)
        for length in sorted(set(lengths[long].tolist()))
        for places, found in _alike(words, long[lengths[long] == length], offsets, length // 4)
        if INET_DIAG_INFO in found and found[INET_DIAG_INFO][1] >= INFO.itemsize
    ]
    if not parts:
        return NO_DETAILS
    together = np.concatenate([part.view(f"V{DETAIL.itemsize}") for part in parts]).view(DETAIL)
    return together[np.argsort(together["place"])] if len(parts) > 1 else together


Found = dict[int, tuple[int, int]]
"""Attributes by type: where the payload begins in the message, in words, and its size in bytes."""


def _alike(
    words: NDArray[np.uint32], places: NDArray[np.intp], offsets: NDArray[np.intp], end: int
) -> Iterator[tuple[NDArray[np.intp], Found]]:
    """Yield groups of messages, by their places, with the same attributes at the same places; end: their length in words."""
    waiting = [places]
    while waiting:
        group = waiting.pop()
        found: Found = {}
        at = _HEADER_WORDS
        while at < end:
            heads = words[offsets[group] // 4 + at]
            same = heads == heads[0]
            if not same.all():
                waiting.append(group[~same])
                group = group[same]
            size, name = (int(half) for half in heads[:1].view("=u2"))
            if size < 4:
                break  # what follows a damaged attribute is left out
            if at + (size + 3) // 4 <= end:
                found[name] = at + 1, size - 4
            at += (size + 3) // 4
        yield group, found


def _filled(words: NDArray[np.uint32], places: NDArray[np.intp], starts: NDArray[np.intp], found: Found) -> Details:
    """Return the details of messages whose attributes are where `found` says; starts: of the messages, in words."""
    made = np.zeros(len(places), DETAIL)
    made["place"] = places
    made["info"] = _copied(words, starts + found[INET_DIAG_INFO][0], INFO)
    at, size = found.get(INET_DIAG_SKMEMINFO, (0, 0))
    if size >= _MEMORY.itemsize:
        memory = _copied(words, starts + at, _MEMORY)
        made["receive_buffer"], made["send_buffer"] = memory["receive_buffer"], memory["send_buffer"]
    if size >= 4 * (_DROPS + 1):
        made["send_memory"], made["drops"] = words[starts + at + _QUEUED], words[starts + at + _DROPS]
    at, size = found.get(INET_DIAG_CGROUP_ID, (0, 0))
    if size >= 8:
        made["cgroup"] = _copied(words, starts + at, np.dtype("=u8"))
    return made


def _copied(words: NDArray[np.uint32], starts: NDArray[np.intp], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return what is at these places (words), of that type; places beyond the end are an error of the caller."""
    everywhere = np.ndarray((len(words) - dtype.itemsize // 4 + 1,), f"V{dtype.itemsize}", words.data, 0, (4,))
    return everywhere[starts].view(dtype)


def joined_details(parts: list[tuple[int, Details]]) -> Details:
    """Return several arrays as one; each with the place at which its sockets begin among all, which is added."""
    kept = [(first, part) for first, part in parts if len(part)]
    for first, part in kept:
        part["place"] += first
    if not kept:
        return NO_DETAILS
    return np.concatenate([part.view(f"V{DETAIL.itemsize}") for _, part in kept]).view(DETAIL)
