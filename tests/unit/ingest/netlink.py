"""Replies of sock_diag as the kernel writes them, byte by byte, for tests of their reader."""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address

INFO = struct.pack("=HH", 5, 8) + b"\0" * 4
"""A small attribute, INET_DIAG_TOS padded to 8 bytes."""


def message(kind: int = 20, body: bytes = b"", *, sequence: int = 1, flags: int = 2, length: int | None = None) -> bytes:
    """Return one message with its header, padded to 4 bytes; length: what the header claims."""
    size = 16 + len(body) if length is None else length
    return struct.pack("=IHHII", size, kind, flags, sequence, 4711) + body + bytes(-len(body) % 4)


def diag(
    local: str = "127.0.0.1",
    remote: str = "127.0.0.2",
    *,
    ports: tuple[int, int] = (50123, 443),
    state: int = 6,
    timer: int = 3,
    expires_ms: int = 59_000,
    queues: tuple[int, int] = (0, 0),
    uid: int = 0,
    inode: int = 0,
    attributes: bytes = b"",
) -> bytes:
    """Return struct inet_diag_msg with what follows it."""
    here, there = ip_address(local), ip_address(remote)
    family = socket.AF_INET if here.version == 4 else socket.AF_INET6
    return (
        struct.pack("=BBBB", family, state, timer, 0)
        + struct.pack(">HH", *ports)
        + here.packed.ljust(16, b"\0")
        + there.packed.ljust(16, b"\0")
        + struct.pack("=IQIIIII", 3, 2**64 - 1, expires_ms, *queues, uid, inode)
        + attributes
    )


def done(error: int = 0, *, sequence: int = 1, flags: int = 2) -> bytes:
    """Return the end of a dump."""
    return message(3, struct.pack("=i", -error), sequence=sequence, flags=flags)


def failure(error: int, *, sequence: int = 1) -> bytes:
    """Return a refusal, with the head of what was asked."""
    return message(2, struct.pack("=i", -error) + bytes(16), sequence=sequence)
