"""Real traffic of every kind on the loopback device of one namespace, until it is told to stop: something for each metric.

Handshakes, closes, aborts by either side, refused and unanswered attempts, losses, a port taken twice, sockets in TIME_WAIT,
FIN_WAIT2 and CLOSE_WAIT, ever more open connections, and some that existed before the tracing; every count and time in it has
a bound.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.kernel.ends import abort
from tests.kernel.net import Namespace
from tests.kernel.scene import receive
from tests.kernel.traffic import connect, converse, listening, refuse, talk
from tests.needs import tool

ADDRESS = "127.0.0.1"
PLAIN, LOSSY, SILENT, REFUSED, GROWING = 8001, 8002, 8003, 8004, 8005
TAKEN = 9001
"""Service ports, and a client's port that is taken twice."""

LOSSES = f"""table inet losses {{ chain input {{ type filter hook input priority 0;
  tcp dport {SILENT} drop;
  tcp dport {LOSSY} numgen inc mod 5 0 drop;
  tcp sport {LOSSY} numgen inc mod 11 0 drop;
}}; }}"""

ROUNDS, PAUSE = 600, 0.1
LOSSY_CLIENTS = 8
OLDER, GROWTH, WAITING, UNANSWERED = 3, 150, 20, 50
SIZE = 100

Pair = tuple[socket.socket, socket.socket]


@dataclass(frozen=True)
class Mixture:
    """Listeners in a namespace, and the connections that are kept open."""

    side: Namespace
    plain: socket.socket
    lossy: socket.socket
    growing: socket.socket
    kept: list[socket.socket] = field(default_factory=list)
    unanswered: deque[socket.socket] = field(default_factory=deque)

    def pair(self, listener: socket.socket) -> Pair:
        """Return both ends of a new connection."""
        client = connect(self.side, *listener.getsockname())
        return client, listener.accept()[0]


@contextmanager
def mixture(side: Namespace) -> Iterator[Mixture]:
    """Yield what the traffic needs; no packet has been sent yet, and afterwards all is closed."""
    side.run(tool("nft"), "-f", "-", text=LOSSES)
    with contextlib.ExitStack() as stack:
        plain, lossy, growing = (stack.enter_context(listening(side, ADDRESS, port)) for port in (PLAIN, LOSSY, GROWING))
        found = Mixture(side, plain, lossy, growing)
        try:
            yield found
        finally:
            for end in (*found.kept, *found.unanswered):
                end.close()


def open_older(found: Mixture) -> list[Pair]:
    """Return connections for a tracer to find when it starts."""
    return [found.pair(found.plain) for _ in range(OLDER)]


@contextmanager
def traffic(found: Mixture, older: list[Pair]) -> Iterator[None]:
    """Have all kinds of traffic go on meanwhile; whatever goes wrong there is raised at the end."""
    for client, server in older:
        converse(client, server)
    stop = threading.Event()
    with ThreadPoolExecutor(LOSSY_CLIENTS + 1) as pool:
        running = [pool.submit(_rounds, found, stop), *(pool.submit(_lose, found, stop) for _ in range(LOSSY_CLIENTS))]
        try:
            yield
        finally:
            stop.set()
    for thread in running:
        thread.result()


def _rounds(found: Mixture, stop: threading.Event) -> None:
    for number in range(ROUNDS):
        if stop.wait(PAUSE):
            return
        talk(found.side, found.plain, ADDRESS, times=2)
        refuse(found.side, ADDRESS, REFUSED)
        _abort(*found.pair(found.plain))
        _abort(*reversed(found.pair(found.plain)))
        _leave_unanswered(found, give_up=number % 2 == 0)
        if number < GROWTH:
            found.kept.extend(found.pair(found.growing))
        if number < WAITING:
            client, server = found.pair(found.plain)
            client.shutdown(socket.SHUT_WR)
            found.kept.extend((client, server))  # in FIN_WAIT2 and CLOSE_WAIT from now on
            _take_a_port_twice(found)


def _abort(first: socket.socket, second: socket.socket) -> None:
    abort(first)
    with second, contextlib.suppress(ConnectionResetError):
        second.recv(1)


def _leave_unanswered(found: Mixture, *, give_up: bool) -> None:
    """Begin to connect where nobody answers; give up at once, or long after the kernel has, which sends one SYN more."""
    with found.side.inside():
        client = socket.socket()
    client.setblocking(False)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1)
    client.connect_ex((ADDRESS, SILENT))
    if give_up:
        client.close()
        return
    found.unanswered.append(client)
    if len(found.unanswered) > UNANSWERED:
        found.unanswered.popleft().close()


def _take_a_port_twice(found: Mixture) -> None:
    """Connect from one local port to one service twice, which the kernel refuses as it does when no port is left."""
    with found.side.inside():
        first, second = socket.socket(), socket.socket()
    with first, second:
        for client in (first, second):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.bind((ADDRESS, TAKEN))
        first.connect(found.plain.getsockname())
        assert second.connect_ex(found.plain.getsockname()) == errno.EADDRNOTAVAIL
        abort(first)
        found.plain.accept()[0].close()


def _lose(found: Mixture, stop: threading.Event) -> None:
    """Send a little over connections that lose packets; one that loses too many is given up."""
    for _ in range(ROUNDS):
        if stop.wait(PAUSE):
            return
        with contextlib.suppress(TimeoutError, ConnectionError), connect(found.side, ADDRESS, LOSSY) as client:
            client.sendall(bytes(SIZE))
            client.shutdown(socket.SHUT_WR)
            with found.lossy.accept()[0] as server:  # perhaps another thread's: as many come as go
                receive(server, SIZE)
