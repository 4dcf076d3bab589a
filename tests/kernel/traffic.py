"""Real connections, in a known number and order: each one carries PING and PONG, and the client closes first."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from tests.kernel.net import Namespace
from tests.kernel.until import PATIENCE

PING, PONG = b"ping", b"pong!"
BACKLOG = 4096


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


@contextmanager
def listening(side: Namespace, address: str, port: int = 0, *, protocol: int = 0) -> Iterator[socket.socket]:
    """Yield a socket that listens on an address of a namespace; `::` takes IPv4 too. Port 0: whichever is free."""
    with side.inside():
        listener = socket.socket(_family(address), socket.SOCK_STREAM, protocol)
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address == "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((address, port))
        listener.listen(BACKLOG)
        listener.settimeout(PATIENCE)
        yield listener


def connect(side: Namespace, address: str, port: int, *, protocol: int = 0) -> socket.socket:
    """Return a socket of a namespace, connected."""
    with side.inside():
        client = socket.socket(_family(address), socket.SOCK_STREAM, protocol)
    client.settimeout(PATIENCE)
    try:
        client.connect((address, port))
    except OSError:
        client.close()
        raise
    return client


def refuse(side: Namespace, address: str, port: int) -> None:
    """Try to connect to a port on which nobody listens."""
    with contextlib.suppress(ConnectionRefusedError):
        connect(side, address, port).close()
        raise AssertionError(f"somebody listens on {address} port {port}")


def converse(client: socket.socket, server: socket.socket) -> None:
    """Carry PING one way and PONG the other, then end both sides, the client's first."""
    with client, server:
        client.sendall(PING)
        assert server.recv(len(PING), socket.MSG_WAITALL) == PING
        server.sendall(PONG)
        assert client.recv(len(PONG), socket.MSG_WAITALL) == PONG
        client.close()
        assert server.recv(1) == b""


def talk(side: Namespace, listener: socket.socket, address: str, *, times: int, protocol: int = 0) -> None:
    """Make connections from a namespace to a listener, one after the other, each with its conversation."""
    for _ in range(times):
        client = connect(side, address, listener.getsockname()[1], protocol=protocol)
        converse(client, listener.accept()[0])


class Peer:
    """A process of its own in a namespace, which listens, connects, accepts and closes when told to (tests/kernel/peer.py)."""

    def __init__(self, side: Namespace) -> None:
        command = side.command(sys.executable, "-I", str(Path(__file__).with_name("peer.py")))
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid
        self._tell("hello")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(PATIENCE)

    def listen(self, address: str, port: int) -> None:
        """Listen, and go on listening."""
        self._tell("listen", address, str(port))

    def connect(self, address: str, port: int) -> None:
        """Open a connection."""
        self._tell("connect", address, str(port))

    def accept(self) -> None:
        """Take the connection that waits at the newest listener."""
        self._tell("accept")

    def shut(self) -> None:
        """Close this side of the newest connection only."""
        self._tell("shut")

    def close(self) -> None:
        """Close the oldest connection."""
        self._tell("close")

    def _tell(self, *words: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(*words, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline().strip()
        assert answer == "done", f"{' '.join(words)}: {answer or 'the process died'}"


def meet(client: Peer, server: Peer, address: str, port: int, *, times: int) -> None:
    """Make connections from one process to another, which listens there, and close them, the client's side first."""
    for _ in range(times):
        client.connect(address, port)
        server.accept()
        client.close()
        server.close()
