"""An established connection with both of its ends in hand, and the rougher ways of ending it."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from dataclasses import dataclass

from tests.kernel.path import Route
from tests.kernel.scene import states
from tests.kernel.until import until


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
