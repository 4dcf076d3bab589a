"""Tells the service manager that started us (systemd, Type=notify) when tracing has begun, that it goes on, and when it ends.

A datagram of NAME=value lines to the socket in $NOTIFY_SOCKET, as sd_notify(3) describes; libsystemd would be a dependency.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from tracer.commands.session import complain
from tracer.errors import TcptraceError
from tracer.kernel.callersfile import acting_as
from tracer.kernel.privileges import caller
from tracer.model.report import Report
from tracer.outputs.lines import Point, interval, point

PATIENCE_SECONDS = 1.0
"""How long a manager that reads nothing may hold up the draining of the ring."""


class ServiceManager:
    """Who started this process as a service, if anybody; made before privileges are dropped, as its socket is opened here.

    A manager that cannot be reached is complained about on standard error, once, and nothing else changes.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._complained = False
        self._previous: Point | None = None
        own = str(os.getpid())
        self._watched = "WATCHDOG_USEC" in environment and environment.get("WATCHDOG_PID", own) == own
        address = environment.get("NOTIFY_SOCKET", "")
        self._socket = self._connected(address) if address else None

    @contextmanager
    def serving(self, url: str, show: Callable[[Report], None]) -> Iterator[Callable[[Report], None]]:
        """Say that tracing has begun and, at the end, that it is over; yields what the drain is to call with each Report.

        Without a manager that is `show`. A manager is given the line as its status instead, since a line each time
        would fill its log; and a sign of life, if it watches: it comes from the drain, so that it stops where the drain does.
        """
        if self._socket is None:
            yield show
            return
        self._tell(READY="1", STATUS=f"attached; metrics on {url}metrics")
        try:
            yield self._second(show if sys.stderr.isatty() else None)
        finally:
            self._tell(STOPPING="1", STATUS="stopping")
            self._socket.close()

    def _second(self, show: Callable[[Report], None] | None) -> Callable[[Report], None]:
        def tell(report: Report) -> None:
            now = point(report)
            status = {"STATUS": " ".join(interval(now, self._previous))}
            self._tell(**status, **({"WATCHDOG": "1"} if self._watched else {}))
            self._previous = now
            if show:
                show(report)

        return tell

    def _connected(self, address: str) -> socket.socket | None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.settimeout(PATIENCE_SECONDS)
        try:
            with acting_as(caller()):
                sock.connect("\0" + address[1:] if address.startswith("@") else address)
        except OSError as error:
            sock.close()
            self._complain(f"{error.strerror or error}: {address}")
            return None
        return sock

    def _tell(self, **values: str) -> None:
        assert self._socket is not None
        try:
            self._socket.send("\n".join(f"{name}={value}" for name, value in values.items()).encode())
        except OSError as error:
            self._complain(error.strerror or str(error))

    def _complain(self, reason: str) -> None:
        if not self._complained:
            complain(
                TcptraceError(
                    f"cannot tell the service manager ($NOTIFY_SOCKET) how it goes: {reason}",
                    "started by hand? then unset NOTIFY_SOCKET; tracing goes on",
                )
            )
        self._complained = True
