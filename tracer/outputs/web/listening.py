"""The socket that the server listens on, from what --listen says; it is opened before the process becomes unprivileged."""

from __future__ import annotations

import errno
import socket
from typing import Any

from tracer.errors import TcptraceError, UsageError

_DEFAULT_HINT = "give --listen HOST:PORT, for example 127.0.0.1:19293 or [::1]:19293, or :19293 for every address"

NO_IPV6 = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}
"""What the kernel says where IPv6 is not compiled in, or switched off."""


def bind(listen: str) -> socket.socket:
    """Return a listening TCP socket at HOST:PORT ([HOST]:PORT for IPv6; port 0 lets the kernel choose), or at :PORT.

    :PORT is every address, IPv6 and IPv4, as Prometheus' exporters have it; IPv4 alone where the kernel has no IPv6.
    Raises TcptraceError when the text is malformed, the host is unknown, or the address cannot be used.
    """
    host, port = _parse(listen)
    if not host:
        try:
            return _listening(socket.AF_INET6, ("::", port))
        except OSError as error:
            if error.errno not in NO_IPV6:
                raise _cannot_listen(listen, error) from error
        host = "0.0.0.0"  # noqa: S104 - it was asked for
    try:
        found = socket.getaddrinfo(_name(host), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, LookupError) as error:
        raise TcptraceError(f"cannot listen on {listen}: host {host!r} is unknown", _DEFAULT_HINT) from error
    family, *_, address = found[0]
    try:
        return _listening(family, address, only_ipv6=None)
    except OSError as error:
        raise _cannot_listen(listen, error) from error


def _name(host: str) -> bytes:
    """Return a host's name as resolvers want it; Python loads a third of a megabyte to encode it, whatever letters it has."""
    return host.encode("ascii" if host.isascii() else "idna")


def _listening(family: int, address: Any, only_ipv6: int | None = 0) -> socket.socket:
    """Return a listening socket. only_ipv6: for IPV6_V6ONLY; None leaves it as the machine has it."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if only_ipv6 is not None:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_ipv6)
        sock.bind(address)
        sock.listen(128)
    except OSError:
        sock.close()
        raise
    return sock


def _cannot_listen(listen: str, error: OSError) -> TcptraceError:
    what = f"cannot listen on {listen}: {(error.strerror or str(error)).lower()}"
    return TcptraceError(what, "choose another address with --listen HOST:PORT")


def _parse(listen: str) -> tuple[str, int]:
    """Return host and port; no host where none is given, which is every address."""
    host, colon, port = listen.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    plain = host[1:-1] if bracketed else host
    has_port = port.isascii() and port.isdigit() and len(port) < 9 and int(port) <= 65535
    if not colon or not has_port or (":" in plain) != bracketed:
        raise UsageError(f"cannot listen on {listen!r}: not HOST:PORT", _DEFAULT_HINT)
    return plain, int(port)
