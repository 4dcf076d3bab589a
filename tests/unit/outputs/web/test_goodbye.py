"""The last answer of a connection arrives whatever the client has sent behind its request, and whoever is busy."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.until import until
from tests.unit.outputs.web.servers import plain, read_all, serving
from tracer.model.report import Report
from tracer.outputs.web.http import Server

MORE = bytes(100_000)
REQUESTS = {
    "the last request": "GET /metrics HTTP/1.1\r\nConnection: close",
    "a body that is refused": f"POST / HTTP/1.1\r\nContent-Length: {len(MORE)}",
    "no request": "GET / FTP/1.0",
}


@pytest.fixture
def server(report: Report) -> Iterator[Server]:
    with serving(report) as server:
        yield server


@pytest.mark.parametrize("head", REQUESTS.values(), ids=REQUESTS)
def test_what_comes_behind_a_request_does_not_reset_the_answer(server: Server, head: str) -> None:
    with plain(server) as client:
        client.sendall(f"{head}\r\nHost: a\r\n\r\n".encode() + MORE)
        client.shutdown(socket.SHUT_WR)
        assert read_all(client)


def state_and_inode(here: tuple[str, int], there: tuple[str, int]) -> tuple[str, bool] | None:
    """Return a socket's state as in /proc/net/tcp, and whether a process has it; None where there is no such socket."""
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text("ascii").splitlines()[1:]]
    ports = f"{here[1]:04X}", f"{there[1]:04X}"
    found = [(row[3], row[9] != "0") for row in rows if (row[1][-4:], row[2][-4:]) == ports]
    return found[0] if found else None


def test_the_server_keeps_the_socket_of_a_last_answer_until_the_client_has_read_it(server: Server) -> None:
    """The kernel resets sockets without a process when there are too many of them, with what is on its way to the client."""
    with plain(server) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        read_all(client)
        ends = client.getpeername(), client.getsockname()
        until(lambda: state_and_inode(*ends) == ("05", True), "it is in FIN_WAIT2, and a process has it")
    until(lambda: state_and_inode(*ends) in {None, ("06", False)}, "the server has closed it, too")
