"""An established connection with both of its ends in hand, how its client gets into any state, and the rough ways to end it."""

from __future__ import annotations

import ctypes
import fcntl
import itertools
import socket
import struct
import termios
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from tests.kernel.net import LIBC
from tests.kernel.path import SERVER, Route, route
from tests.kernel.scene import states
from tests.kernel.traffic import listening
from tests.kernel.until import PATIENCE, until

_client_ports = itertools.count(24_001)  # below the ephemeral ones: no two connections that one tracer sees share one


@dataclass(frozen=True)
class Pair:
    """An established connection, and what to do to the way between its ends."""

    client: socket.socket
    server: socket.socket
    way: Route
    port: int

    def cut(self, how: str = "drop") -> None:
        """Let nothing from the client through any more."""
        self.way.rule(f"tcp dport {self.port} {how}")

    def wait_until(self, role: str, state: str) -> None:
        """Wait until one side's socket is in a state."""
        until(lambda: states(self.way.ends[role])[state], f"{role} is in {state}")


def unread(end: socket.socket) -> int:
    """Return how many bytes wait to be read."""
    return int(struct.unpack("i", fcntl.ioctl(end, termios.FIONREAD, bytes(4)))[0])


def abort(end: socket.socket) -> None:
    """End a connection with a reset."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


def disconnect(end: socket.socket) -> None:
    """Dissolve a connection, and keep the socket: connect() to AF_UNSPEC."""
    address = struct.pack("=H14x", socket.AF_UNSPEC)
    assert LIBC.connect(end.fileno(), address, len(address)) == 0, ctypes.get_errno()


def reach(way: Route, port: int) -> socket.socket:
    """Return a client that is connected to the server's end of a route, from a port that no other one had."""
    with way.client.inside():
        return socket.create_connection((SERVER[4], port), PATIENCE, ("", next(_client_ports)))


@contextmanager
def connected(port: int, delay: float = 0) -> Iterator[Pair]:
    """Yield a connection of its own between two fresh namespaces."""
    with (
        route(delay) as way,
        listening(way.server, SERVER[4], port) as listener,
        reach(way, port) as client,
        listener.accept()[0] as server,
    ):
        yield Pair(client, server, way, port)


def in_established(_: Pair) -> None:
    pass


def in_close_wait(pair: Pair) -> None:
    pair.server.shutdown(socket.SHUT_WR)


def in_fin_wait1(pair: Pair) -> None:
    pair.cut()  # its FIN never arrives
    pair.client.shutdown(socket.SHUT_WR)


def in_fin_wait2(pair: Pair) -> None:
    pair.client.shutdown(socket.SHUT_WR)


def in_closing(pair: Pair) -> None:
    in_fin_wait1(pair)
    pair.wait_until("client", "fin_wait1")
    pair.server.shutdown(socket.SHUT_WR)


def in_last_ack(pair: Pair) -> None:
    in_close_wait(pair)
    pair.wait_until("client", "close_wait")
    in_fin_wait1(pair)


CLIENT_IN: Mapping[str, Callable[[Pair], None]] = {
    "established": in_established,
    "close_wait": in_close_wait,
    "fin_wait1": in_fin_wait1,
    "fin_wait2": in_fin_wait2,
    "closing": in_closing,
    "last_ack": in_last_ack,
}
"""How the client's socket gets into each state; what it sends from fin_wait1, closing and last_ack is lost on the way."""


def bring_client_to(pair: Pair, state: str) -> None:
    """Have the client's socket in a state."""
    CLIENT_IN[state](pair)
    pair.wait_until("client", state)
