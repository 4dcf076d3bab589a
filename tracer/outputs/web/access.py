"""Who may ask, and what every answer says besides: TLS, client certificates, passwords and extra headers.

Only this is known to the server; where it comes from (a file in YAML) is not, so that nothing of that is loaded without need.
The handshake is made in the connection's own thread: a listening socket wrapped in TLS, which is the usual way, makes it while
accepting, and one silent client then keeps out all others.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol

NOT_TLS = (
    b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nthis port speaks HTTPS: use https://\n"
)


HEALTH = "/healthz"

GOODBYE_SECONDS = 2.0
"""How long a client may take to read its last answer before the connection is closed; after that the kernel goes on alone."""


class TlsSocket(ssl.SSLSocket):
    """An accepted connection; that its client has gone again comes out in the handshake.

    By itself ssl looks for that while it wraps the socket, and then fails and leaves it open (CPython's issue 113280).
    """

    def getpeername(self) -> Any:
        """Return the client's address, None where there is no client any more."""
        with suppress(OSError):
            return super().getpeername()
        return None


class Passwords(Protocol):
    """What checks the names and passwords of users."""

    def refusal(self, authorization: str) -> HTTPStatus | None:
        """Return None when an Authorization header lets its sender in, else the status that tells why not."""


@dataclass(frozen=True)
class Access:
    """How the server is reached; by default everybody may ask, over plain HTTP.

    certificate: whether a client must have shown one; the handshake asks for it, and each request but those to /healthz is
    refused without, since the one who probes a service's health has none. names: of which a client's certificate must have one,
    if there are any. headers: put on every answer.
    """

    tls: ssl.SSLContext | None = None
    certificate: bool = False
    names: frozenset[str] = frozenset()
    headers: Mapping[str, str] = field(default_factory=dict)
    passwords: Passwords | None = None

    @property
    def scheme(self) -> str:
        """The first word of this server's addresses."""
        return "https" if self.tls else "http"

    def refusal(self, path: str, sock: socket.socket, authorization: str) -> HTTPStatus | None:
        """Return None for a request that may be answered, else the status that tells why not."""
        if path == HEALTH:  # who probes it has neither password nor certificate
            return None
        if self.certificate and not (isinstance(sock, ssl.SSLSocket) and sock.getpeercert()):
            return HTTPStatus.FORBIDDEN
        return self.passwords.refusal(authorization) if self.passwords else None

    def wrap(self, sock: socket.socket) -> socket.socket:
        """Return an accepted socket as one to speak through; does not wait for the client."""
        return self.tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False) if self.tls else sock

    def shake_hands(self, sock: socket.socket) -> None:
        """Have the client show who it is, waiting for it up to the socket's timeout a step; OSError when it may not come in."""
        if not isinstance(sock, ssl.SSLSocket):
            return
        try:
            sock.do_handshake()
        except ssl.SSLError as error:
            _turn_away(sock, NOT_TLS if error.reason == "HTTP_REQUEST" else b"")
            raise
        if self.names and sock.getpeercert() and self.names.isdisjoint(_names_of(sock)):
            raise PermissionError("the client's certificate has none of the names in client_allowed_sans")


def _turn_away(sock: ssl.SSLSocket, words: bytes) -> None:
    """Say a last word past TLS; what came already is read, since unread data would make the close a reset."""
    sock.settimeout(0)
    with suppress(OSError):
        socket.socket.recv(sock, 65536)
    with suppress(OSError):
        socket.socket.send(sock, words)


def _names_of(sock: ssl.SSLSocket) -> Iterator[str]:
    """Yield the alternative names in the client's certificate, of whatever kind; IPv6 addresses in their short form."""
    names: Any = (sock.getpeercert() or {}).get("subjectAltName", ())
    for _, name in names:
        try:
            yield ipaddress.ip_address(name).compressed
        except ValueError:
            yield name


def say_goodbye(sock: socket.socket) -> None:
    """Tell a client that nothing more comes, and wait a while for it to say so, too.

    To close at once would be a reset when something that it sent was not read (a body, another request), or when the kernel
    has too many sockets without a process: the client would lose an answer that is on its way. Call it in a thread of its own.
    """
    with suppress(OSError, ValueError):
        if isinstance(sock, ssl.SSLSocket):
            sock.settimeout(0)
            with suppress(OSError):
                sock.unwrap()
        socket.socket.shutdown(sock, socket.SHUT_WR)
        end = time.monotonic() + GOODBYE_SECONDS
        while (left := end - time.monotonic()) > 0:
            socket.socket.settimeout(sock, left)
            if not socket.socket.recv(sock, 65536):
                return
