"""The kernel's list of TCP sockets as it comes over netlink (sock_diag): requests and replies as bytes, no I/O.

Facts: include/uapi/linux/netlink.h and inet_diag.h; net/ipv4/inet_diag.c. A reply holds up to 32 KB of messages. Those of
TIME_WAIT sockets, which are the many, all have one length, so that a reply is a strided array; any other reply is walked.
/proc/net/tcp was the alternative: text, formatted and parsed a line a socket, at ten times the cost.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.interfaces import is_link_local

SOCKET = np.dtype(
    [
        ("family", "u1"),
        ("state", "u1"),
        ("timer", "u1"),
        ("retransmits", "u1"),
        ("local_port", ">u2"),
        ("remote_port", ">u2"),
        ("local_address", "u1", (16,)),
        ("remote_address", "u1", (16,)),
        ("netns", "=u4"),
        ("cookie", "=u8"),
        ("expires_ms", "=u4"),
        ("rqueue", "=u4"),
        ("wqueue", "=u4"),
        ("uid", "=u4"),
        ("inode", "=u4"),
    ]
)
"""One socket: struct inet_diag_msg in place. family: 4 or 6; IPv4 in addresses as ::ffff:a.b.c.d. state: as in event.h.
timer, expires_ms: which one runs (0 none, 1 retransmission, 2 keepalive, 3 that of a timewait object, 4 zero window), and
when it fires. rqueue, wqueue: bytes; of a listener, connections that wait and how many may. inode: 0 without a process.
netns: in place of the interface's number."""

Places = NDArray[np.intp]

Sockets = NDArray[np.void]
"""Shape (n,), dtype SOCKET, in no particular order."""

TIMER_TIME_WAIT = 3
"""What marks a timewait object; its state is its substate, TIME_WAIT or FIN_WAIT2."""

ALL_STATES = 0x3FFE
"""Bits by number of state. NEW_SYN_RECV (12): its sockets, half open, are reported as SYN_RECV. TCP_BOUND_INACTIVE (13, since
Linux 6.8; older ones pass over it): those that have a port of bind() and neither listen nor connect, reported as CLOSE."""

TCPDIAG_GETSOCK, SOCK_DIAG_BY_FAMILY = 18, 20
IS_SOCKET = frozenset((TCPDIAG_GETSOCK, SOCK_DIAG_BY_FAMILY))
"""Types of messages with a socket: of its request."""

NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE, NLMSG_OVERRUN = 1, 2, 3, 4
NLM_F_REQUEST, NLM_F_DUMP_INTR, NLM_F_DUMP = 1, 0x10, 0x300
INET_DIAG_INFO, INET_DIAG_CGROUP_ID = 2, 21
LISTEN = 10
WITH_INFO = 1 << INET_DIAG_INFO - 1
"""The extension that asks for struct tcp_info."""

LAST_HEARD = 56
"""Offset of tcpi_last_ack_recv in struct tcp_info (include/uapi/linux/tcp.h), milliseconds, u32."""

_HEADER = np.dtype([("length", "=u4"), ("type", "=u2"), ("flags", "=u2"), ("sequence", "=u4"), ("sender", "=u4")])
_HEAD = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_MESSAGE = _HEAD.size + SOCKET.itemsize
_ADDRESS_WORDS = (2, 6)
"""Where the two addresses begin, in units of 4 bytes."""

_MAPPED = int(np.frombuffer(b"\0\0\xff\xff", "=u4")[0])


NO_COOKIE = 2**64 - 1
"""In a request: the socket may be any that has these ends."""


@dataclass(frozen=True)
class SocketEnds:
    """Both ends of a connection; addresses as 16 bytes, IPv4 as ::ffff:a.b.c.d. interface: of link-local ones, its index."""

    local: bytes
    local_port: int
    remote: bytes
    remote_port: int
    interface: int = 0


@dataclass(frozen=True)
class Reply:
    """What one read gave. done: the dump's last one; interrupted: its list changed while the kernel walked it; error: errno.

    offsets, lengths: where the message of each socket begins, and how long it is, in bytes; shape (n,) each.
    """

    sockets: Sockets
    done: bool = False
    interrupted: bool = False
    error: int = 0
    offsets: Places = field(default_factory=lambda: np.empty(0, np.intp))
    lengths: Places = field(default_factory=lambda: np.empty(0, np.intp))


def request(states: int, sequence: int, extensions: int = 0) -> bytes:
    """Return the message that asks for all TCP sockets in these states, of both families: nlmsghdr and inet_diag_req.

    The older one of the kernel's two requests: the newer one names a family, and most of what a dump of few sockets costs is
    the kernel's way through its whole table, which both families share.
    """
    body = struct.pack("=BBBB48xII", socket.AF_UNSPEC, 0, 0, extensions, states, 0)
    return _HEAD.pack(_HEAD.size + len(body), TCPDIAG_GETSOCK, NLM_F_REQUEST | NLM_F_DUMP, sequence, 0) + body


def request_one(family: int, ends: SocketEnds, sequence: int) -> bytes:
    """Return the message that asks for the one socket with these ends, which the kernel finds without walking its tables."""
    local, remote = (address[12:] if family == socket.AF_INET else address for address in (ends.local, ends.remote))
    body = struct.pack("=BBBxI", family, socket.IPPROTO_TCP, 0, ALL_STATES)
    body += struct.pack(">HH16s16s", ends.local_port, ends.remote_port, local, remote)
    body += struct.pack("=IQ", ends.interface, NO_COOKIE)
    return _HEAD.pack(_HEAD.size + len(body), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, sequence, 0) + body


def parse_reply(reply: memoryview, sequence: int) -> Reply:
    """Return the sockets of a reply, copied; messages that answer another request are passed over.

    Raises ValueError for bytes that are no such messages.
    """
    return _strided(reply, sequence) or _walked(reply, sequence)


def _strided(reply: memoryview, sequence: int) -> Reply | None:
    """Return a reply whose messages are all sockets of one length; None for any other."""
    length = int.from_bytes(reply[:4], "little" if np.little_endian else "big")
    stride = _aligned(length)
    if length < _MESSAGE or len(reply) % stride:
        return None
    count = len(reply) // stride
    heads = np.ndarray((count,), _HEADER, reply, 0, (stride,))
    kind = int(heads["type"][0])
    alike = (heads["length"] == length) & (heads["type"] == kind) & (heads["sequence"] == sequence)
    if kind not in IS_SOCKET or not alike.all():
        return None
    sockets = np.ndarray((count,), f"V{SOCKET.itemsize}", reply, _HEAD.size, (stride,)).copy().view(SOCKET)
    interrupted = bool((heads["flags"] & NLM_F_DUMP_INTR).any())
    return Reply(sockets, interrupted=interrupted, offsets=np.arange(count) * stride, lengths=np.full(count, length))


def _walked(reply: memoryview, sequence: int) -> Reply:
    offsets, lengths = [], []
    done, interrupted, error = False, False, 0
    for offset, length, kind, flags in messages(reply, sequence):
        interrupted |= bool(flags & NLM_F_DUMP_INTR)
        if kind in IS_SOCKET and length >= _MESSAGE:
            offsets.append(offset)
            lengths.append(length)
        elif kind in {NLMSG_DONE, NLMSG_ERROR}:
            done, error = True, _error(reply, offset, length)
        elif kind == NLMSG_OVERRUN:
            interrupted = True
        elif kind != NLMSG_NOOP:
            raise ValueError(f"a message of type {kind} and {length} bytes")
    starts = np.array(offsets, np.intp)
    return Reply(_gather(reply, starts), done, interrupted, error, starts, np.array(lengths, np.intp))


def messages(reply: memoryview, sequence: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield offset, length, type and flags of each message that answers this request.

    Raises ValueError where a length makes no sense, or where fewer bytes are left than a header takes.
    """
    offset = 0
    while offset < len(reply):
        if offset + _HEAD.size > len(reply):
            raise ValueError(f"{len(reply) - offset} bytes after the last message")
        length, kind, flags, answers, _ = _HEAD.unpack_from(reply, offset)
        if length < _HEAD.size or offset + length > len(reply):
            raise ValueError(f"a message of {length} bytes where {len(reply) - offset} are left")
        if answers == sequence:
            yield offset, length, kind, flags
        offset += _aligned(length)


def _gather(reply: memoryview, offsets: Places) -> Sockets:
    """Return the sockets of the messages at these offsets; netlink aligns them to 4 bytes."""
    if not len(offsets):
        return np.empty(0, SOCKET)
    places = (len(reply) - _MESSAGE) // 4 + 1
    everywhere = np.ndarray((places,), f"V{SOCKET.itemsize}", reply, _HEAD.size, (4,))
    return everywhere[offsets // 4].view(SOCKET)


def _error(reply: memoryview, offset: int, length: int) -> int:
    """Return the errno that an end or an error carries, 0 for none: the kernel sends it negative."""
    if length < _HEAD.size + 4:
        return 0
    return -int(struct.unpack_from("=i", reply, offset + _HEAD.size)[0])


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def last_heard(reply: memoryview, sequence: int) -> Iterator[tuple[int, float]]:
    """Yield inode and seconds since the other side last said anything, of each socket that comes with its tcp_info."""
    for offset, length, kind, _ in messages(reply, sequence):
        if kind in IS_SOCKET and length >= _MESSAGE:
            inode = struct.unpack_from("=I", reply, offset + _MESSAGE - 4)[0]
            for at, size, name in _attributes(reply, offset + _MESSAGE, offset + length):
                if name == INET_DIAG_INFO and size >= LAST_HEARD + 4:
                    yield inode, struct.unpack_from("=I", reply, at + LAST_HEARD)[0] / 1000


def listeners_cgroups(reply: memoryview, sequence: int) -> Iterator[tuple[int, int]]:
    """Yield inode and cgroup id of each listening socket of a reply; kernels since Linux 5.8 tell unasked."""
    for offset, length, kind, _ in messages(reply, sequence):
        if kind in IS_SOCKET and length >= _MESSAGE and reply[offset + _HEAD.size + 1] == LISTEN:
            inode = struct.unpack_from("=I", reply, offset + _MESSAGE - 4)[0]
            for at, size, name in _attributes(reply, offset + _MESSAGE, offset + length):
                if name == INET_DIAG_CGROUP_ID and size >= 8:
                    yield inode, struct.unpack_from("=Q", reply, at)[0]


def _attributes(reply: memoryview, offset: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield place, size and type of the payload of each attribute; what follows a damaged one is left out."""
    while offset + _ATTRIBUTE.size <= end:
        size, name = _ATTRIBUTE.unpack_from(reply, offset)
        if size < _ATTRIBUTE.size or offset + size > end:
            return
        yield offset + _ATTRIBUTE.size, size - _ATTRIBUTE.size, name
        offset += _aligned(size)


def normalize(sockets: Sockets, netns: int) -> Sockets:
    """Put families and addresses into our form, in place: IPv4 mapped into IPv6 is IPv4, as in the programs."""
    is_plain = sockets["family"] == socket.AF_INET
    plain = slice(None) if is_plain.all() else is_plain  # all at once take a fifth of the time
    words = sockets.view("=u4").reshape(len(sockets), SOCKET.itemsize // 4)
    for at in _ADDRESS_WORDS:
        words[plain, at + 3] = words[plain, at]
        words[plain, at : at + 2], words[plain, at + 2] = 0, _MAPPED
    _add_interfaces(sockets)
    # a socket of both families that listens on all addresses (::) stays one of IPv6
    sockets["family"] = np.where(_is_mapped(sockets["remote_address"]) | _is_mapped(sockets["local_address"]), 4, 6)
    sockets["netns"] = netns
    return sockets


def _add_interfaces(sockets: Sockets) -> None:
    """Put the interface of connections between link-local addresses into these; the number stands where netns will."""
    places = np.flatnonzero(is_link_local(sockets["remote_address"]))
    if not len(places):
        return
    interfaces = sockets["netns"][places].astype(">u4").view("u1").reshape(-1, 4)
    for side in ("local_address", "remote_address"):
        addresses = sockets[side][places]
        chosen = is_link_local(addresses) & ~addresses[:, 4:8].any(axis=1)
        addresses[chosen, 4:8] = interfaces[chosen]
        sockets[side][places] = addresses


def joined(parts: Sequence[Sockets]) -> Sockets:
    """Return several arrays as one; as plain bytes, since numpy copies structured arrays member by member."""
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([part.view(f"V{SOCKET.itemsize}") for part in parts] or [np.empty(0, "V72")]).view(SOCKET)


def _is_mapped(addresses: NDArray[np.uint8]) -> NDArray[np.bool_]:
    halves = addresses.view(">u8")
    mapped: NDArray[np.bool_] = (halves[:, 0] == 0) & (halves[:, 1] >> 32 == 0xFFFF)
    return mapped
