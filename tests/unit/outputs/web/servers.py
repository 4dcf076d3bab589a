"""A server of a report for tests, and ways to ask it."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from tracer.model.report import Report
from tracer.outputs.web.http import Server, serve
from tracer.outputs.web.listening import bind


@contextmanager
def serving(
    report: Report, healthy: Callable[[], bool] = lambda: True, *, patience: float = 10, connections: int = 64
) -> Iterator[Server]:
    server = serve(bind("127.0.0.1:0"), lambda: report, healthy, patience=patience, connections=connections)
    try:
        yield server
    finally:
        server.close()


def connect(server: Server) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(server.address, timeout=10)


def plain(server: Server) -> socket.socket:
    host, _, port = server.address.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=10)


def ask(server: Server, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes, http.client.HTTPMessage]:
    with closing(connect(server)) as connection:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers


def read_all(sock: socket.socket) -> bytes:
    """Return all that comes; that it ends in a reset is an error."""
    return b"".join(iter(lambda: sock.recv(65536), b""))
