"""A process that does what it is told with TCP, a line each: listen ADDRESS PORT, connect ADDRESS PORT, accept, shut, close.

Run by tests.kernel.traffic.Peer, for connections that belong to another process than the tests'. The answer to a line is
`done` or what went wrong. Closing reads to the end first, if the other side has closed, so that no reset is sent.
"""

from __future__ import annotations

import socket
import sys

listeners: list[socket.socket] = []
connections: list[socket.socket] = []


def listen(address: str, port: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listeners.append(socket.create_server((address, int(port)), family=family))


def connect(address: str, port: str) -> None:
    connections.append(socket.create_connection((address, int(port)), timeout=30))


def accept() -> None:
    connections.append(listeners[-1].accept()[0])


def shut() -> None:
    """Send a FIN on the newest connection, and keep it."""
    connections[-1].shutdown(socket.SHUT_WR)


def close() -> None:
    connections.pop(0).close()


def hello() -> None:
    """Only show that the process has started."""


VERBS = {"listen": listen, "connect": connect, "accept": accept, "shut": shut, "close": close, "hello": hello}

for line in sys.stdin:
    verb, *arguments = line.split()
    try:
        VERBS[verb](*arguments)  # type: ignore[operator]
    except OSError as error:
        print(error, flush=True)
    else:
        print("done", flush=True)
