"""Plenty of connections to one service, which becomes busy by them: with data, and ended in every quick way there is."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Lock

from tests.kernel.ends import abort
from tests.kernel.net import Namespace
from tests.kernel.traffic import PING, PONG
from tests.kernel.until import PATIENCE

Way = Callable[[socket.socket, socket.socket], None]


def exchange(client: socket.socket, server: socket.socket) -> None:
    """Carry PING one way and PONG the other."""
    client.sendall(PING)
    assert server.recv(len(PING), socket.MSG_WAITALL) == PING
    server.sendall(PONG)
    assert client.recv(len(PONG), socket.MSG_WAITALL) == PONG


def client_first(client: socket.socket, server: socket.socket) -> None:
    client.close()
    assert server.recv(1) == b""
    server.close()


def server_first(client: socket.socket, server: socket.socket) -> None:
    client_first(server, client)


def aborted(client: socket.socket, server: socket.socket) -> None:
    """The client sends a reset."""
    abort(client)
    server.close()


def unread(client: socket.socket, server: socket.socket) -> None:
    """The server sends a reset, since it leaves data unread."""
    client.sendall(PING)
    server.recv(1)
    server.close()
    client.close()


ORDERLY: tuple[Way, ...] = (client_first, server_first)
EVERY: tuple[Way, ...] = (*ORDERLY * 3, aborted, *ORDERLY, unread)

PLENTY, PAUSE_SECONDS = 8_000, 0.02
"""So many connections as fast as one thread can, and then a few at a time: what is left in TIME_WAIT makes dumps slow."""

REASONS: Mapping[Way, tuple[str, str]] = {aborted: ("reset_sent", "reset_received"), unread: ("reset_received", "reset_sent")}
"""Of the client's and of the server's end, where these are not normal."""


_reaching = Lock()


def reach(listener: socket.socket, source: str | None = None) -> tuple[socket.socket, socket.socket]:
    """Return both ends of a new connection, whose client gets its port and this address by bind(), if one is given."""
    with _reaching:  # what one thread accepts is what it has opened
        client = socket.create_connection(listener.getsockname()[:2], PATIENCE, (source, 0) if source else None)
        return client, listener.accept()[0]


def connections(listener: socket.socket, ways: tuple[Way, ...], times: int, source: str | None = None) -> Counter[Way]:
    """Make connections from this thread's namespace, each with its exchange; return how many of each way."""
    for number in range(times):
        client, server = reach(listener, source)
        with client, server:
            exchange(client, server)
            ways[number % len(ways)](client, server)
    return Counter(ways[number % len(ways)] for number in range(times))


class Load:
    """Connections that go on until they are to stop. made: how many of each way, once they have."""

    def __init__(self) -> None:
        self.stop = Event()
        self.made: Counter[Way] = Counter()

    def work(self, side: Namespace, listener: socket.socket, ways: tuple[Way, ...]) -> None:
        with side.inside():
            while not self.stop.is_set():
                self.made += connections(listener, ways, len(ways))
                self.stop.wait(PAUSE_SECONDS if self.made.total() > PLENTY else 0)


@contextmanager
def load(side: Namespace, listener: socket.socket, ways: tuple[Way, ...]) -> Iterator[Load]:
    """Have connections made meanwhile; afterwards all of them have ended."""
    found = Load()
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(found.work, side, listener, ways)
        try:
            yield found
        finally:
            found.stop.set()
        working.result()
