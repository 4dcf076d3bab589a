"""Clients that speak TLS slowly, wrongly or not at all, and how a connection ends."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from tests.unit.outputs.web.secured import TLS, ask, client_context, secured
from tests.unit.outputs.web.servers import plain


def test_silent_clients_do_not_hold_up_a_handshake(tmp_path: Path) -> None:
    with secured(tmp_path, TLS, patience=60) as server, ExitStack() as stack:
        silent = [stack.enter_context(plain(server)) for _ in range(100)]
        for sock in silent[::2]:  # half of them have begun to say hello
            with suppress(OSError):
                sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        start = time.monotonic()
        assert ask(server.address, context=client_context())[0] == 200
        assert time.monotonic() - start < 60  # nobody was let go for it


def test_a_client_that_does_not_finish_its_handshake_is_let_go(tmp_path: Path) -> None:
    with secured(tmp_path, TLS, patience=0.3) as server, plain(server) as silent:
        assert silent.recv(1) == b""


def test_a_client_that_says_hello_byte_by_byte_is_let_go(tmp_path: Path) -> None:
    with secured(tmp_path, TLS, patience=0.5) as server, plain(server) as slow:
        assert is_refused(slow, b"\x16\x03\x01\x02\x00" + bytes(500))


def is_refused(sock: socket.socket, text: bytes) -> bool:
    """Say whether the server ends the connection while it gets a byte now and then."""
    try:
        for byte in text:
            sock.sendall(bytes([byte]))
            time.sleep(0.05)
    except OSError:
        return True
    return False


def test_plain_http_on_a_tls_port_is_told_so_and_closed_cleanly(tmp_path: Path) -> None:
    with secured(tmp_path, TLS) as server:
        status, body, headers = ask(server.address)
    assert (status, headers["Connection"]) == (400, "close")
    assert b"https://" in body


def test_nonsense_on_a_tls_port_is_closed_cleanly(tmp_path: Path) -> None:
    with secured(tmp_path, TLS) as server, plain(server) as sock:
        sock.sendall(b"nonsense " * 100)
        said = b""
        while part := sock.recv(4096):
            said += part
    assert b"HTTP" not in said


def test_a_tls_connection_is_ended_with_a_goodbye(tmp_path: Path) -> None:
    context = client_context()
    with (
        secured(tmp_path, TLS) as server,
        plain(server) as sock,
        context.wrap_socket(sock, server_hostname="localhost", suppress_ragged_eofs=False) as wrapped,
    ):
        wrapped.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        said = b""
        while part := wrapped.recv(4096):
            said += part
    assert said.endswith(b"ok\n")
