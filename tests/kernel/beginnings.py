"""Sockets that begin in unusual ways: connect() that leaves the SYN to send(), and connections that are saved and restored."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from tests.kernel.net import Namespace
from tests.kernel.until import PATIENCE

# include/uapi/linux/tcp.h
TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ = 19, 20, 21
TCP_FASTOPEN_CONNECT = 30
RECV_QUEUE, SEND_QUEUE = 1, 2

BOTH_SIDES_WITHOUT_COOKIE = "1543"
"""net.ipv4.tcp_fastopen: client 1 and 4, server 2, 512 and 1024 (every listener)."""

Address = tuple[str, int]


def fresh(side: Namespace, address: str) -> socket.socket:
    """Return a new socket of a namespace."""
    with side.inside():
        client = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    client.settimeout(PATIENCE)
    return client


def waiting(side: Namespace, address: str, port: int) -> socket.socket:
    """Return a socket whose connect() has returned, and whose SYN waits for its first send()."""
    client = fresh(side, address)
    client.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
    client.connect((address, port))
    return client


def pending_error(client: socket.socket) -> int:
    """Return the error that the socket has for its application, which takes it away."""
    return client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


@dataclass(frozen=True)
class Saved:
    """What a checkpoint keeps of a socket."""

    local: Address
    remote: Address
    sent: int
    received: int


def save(side: socket.socket) -> Saved:
    """Take a connection's ends and numbers, and close its socket without a word to the peer."""
    side.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    numbers = []
    for queue in (SEND_QUEUE, RECV_QUEUE):
        side.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, queue)
        raw = side.getsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ, 4)
        numbers.append(struct.unpack("I", raw)[0])
    saved = Saved(side.getsockname()[:2], side.getpeername()[:2], *numbers)
    side.close()
    return saved


def restore(namespace: Namespace, saved: Saved) -> socket.socket:
    """Return a new socket that stands where the saved one was, still in repair mode."""
    side = fresh(namespace, saved.local[0])
    side.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    side.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    for queue, number in ((SEND_QUEUE, saved.sent), (RECV_QUEUE, saved.received)):
        side.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, queue)
        side.setsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ, struct.pack("I", number))
    side.bind(saved.local)
    side.connect(saved.remote)
    return side


def resume(side: socket.socket) -> None:
    """Let a restored socket go on; its peer must be there."""
    side.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 0)
