"""Ten thousand connections that end in every way there is; run by the audit's test, in a namespace of its own.

    python -m tests.kernel.load PORT

Some are refused, since nobody listens on PORT + 1; those to PORT + 2 lose packets, if somebody has seen to that. Prints how
many of each kind there were, as JSON.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

HOST = "127.0.0.1"
COUNTS = {"normal": 5_000, "half_closed": 1_500, "aborted": 1_500, "unread": 900, "refused": 1_000, "lossy": 100}
LOSSY_AT_ONCE = 50
DATA = bytes(2300)


def finish(client: socket.socket, server: socket.socket) -> None:
    """End both sides in order, the client's first."""
    client.close()
    read_to_end(server)
    server.close()


def half_close(client: socket.socket, server: socket.socket) -> None:
    client.shutdown(socket.SHUT_WR)
    assert server.recv(1) == b""
    server.sendall(DATA)
    server.close()
    read_to_end(client)
    client.close()


def abort(client: socket.socket, server: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    with contextlib.suppress(ConnectionResetError):
        server.recv(1)
    server.close()


def leave_unread(client: socket.socket, server: socket.socket) -> None:
    client.sendall(DATA)
    server.recv(1)
    server.close()
    with contextlib.suppress(ConnectionResetError):
        client.recv(1)
    client.close()


ENDS: dict[str, Callable[[socket.socket, socket.socket], None]] = {
    "normal": finish,
    "half_closed": half_close,
    "aborted": abort,
    "unread": leave_unread,
}


def refuse(port: int) -> None:
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection((HOST, port)):
        raise AssertionError("somebody listens")


def read_to_end(end: socket.socket) -> None:
    while end.recv(65_536):
        pass


def ask(port: int) -> None:
    with socket.create_connection((HOST, port)) as client:
        client.sendall(DATA)
        client.shutdown(socket.SHUT_WR)
        read_to_end(client)


def answer(server: socket.socket) -> None:
    with server:
        read_to_end(server)
        server.sendall(DATA)


def lose(port: int, times: int) -> None:
    """Make connections that lose packets, many at once, since each of them takes its time."""
    with (
        socket.create_server((HOST, port), backlog=LOSSY_AT_ONCE) as listener,
        ThreadPoolExecutor(LOSSY_AT_ONCE) as clients,
        ThreadPoolExecutor(LOSSY_AT_ONCE) as servers,
    ):
        asked = [clients.submit(ask, port) for _ in range(times)]
        answered = [servers.submit(answer, listener.accept()[0]) for _ in range(times)]
        for each in (*asked, *answered):
            each.result()


def main(port: int) -> None:
    """Make all of them."""
    with socket.create_server((HOST, port)) as listener:
        for kind, end in ENDS.items():
            for _ in range(COUNTS[kind]):
                client = socket.create_connection((HOST, port))
                end(client, listener.accept()[0])
    for _ in range(COUNTS["refused"]):
        refuse(port + 1)
    lose(port + 2, COUNTS["lossy"])
    print(json.dumps(COUNTS))


if __name__ == "__main__":
    main(int(sys.argv[1]))
