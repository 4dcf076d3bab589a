"""A route with a capture at both of its ends, and one connection of known size on it, read back from three sides.

The three are the events that tcptrace prints, the frames that tshark reads, and the kernel's own counters: a scene's namespaces
are new, so that their counters begin at zero.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.kernel.capture import ACK, SYN, Capture, Frame, capture, retransmitted
from tests.kernel.net import Namespace
from tests.kernel.path import CLIENT, DEVICE, SERVER, Route, route
from tests.kernel.traffic import connect, listening
from tests.kernel.until import until
from tests.kernel.watching import Event, Watching
from tracer.model.tcp import STATES

SEGMENTS, SIZE = 7, 1000
"""What each side sends in a conversation: fewer segments than a first window, each a write, told from ACKs by size."""

ROLES = ("client", "server")


@dataclass(frozen=True)
class Scene:
    """A route, its captures by role, the service's port on it, and the tracer that looks on."""

    route: Route
    captures: dict[str, Capture]
    port: int
    watch: Watching

    def wait_until_over(self) -> None:
        """Wait until no socket is open at either end."""
        for name, side in self.route.ends.items():
            until(lambda side=side: side.open_sockets() == 0, f"every connection of the {name} has ended")  # type: ignore[misc]

    def wait_until(self, role: str, condition: Callable[[Counter[str]], bool], what: str) -> None:
        """Wait until the states of one side's sockets, with how many are in each, are as wanted."""
        side = self.route.ends[role]
        until(lambda: condition(states(side)), f"{role}: {what}")

    def frames(self, client_port: int) -> dict[str, list[Frame]]:
        """End the captures; return what each side's device has seen of a connection."""
        with ThreadPoolExecutor() as pool:
            every = dict(zip(ROLES, pool.map(lambda role: self.captures[role].frames(), ROLES), strict=True))
        return {role: [f for f in frames if client_port in (f.sport, f.dport)] for role, frames in every.items()}

    def kernel(self, role: str) -> Counter[str]:
        """Return the kernel's counters of one side."""
        return Counter(self.route.ends[role].counters())


@contextmanager
def scene(watch: Watching, port: int, directory: Path, delay: float = 0) -> Iterator[Scene]:
    """Yield a route on which everything is looked at, before there is anything to see."""
    with ExitStack() as stack:
        way = stack.enter_context(route(delay))
        captures = {
            role: stack.enter_context(capture(side, DEVICE, port, directory / f"{role}.pcap", marker_to=to))
            for (role, side), to in zip(way.ends.items(), (SERVER[4], CLIENT[4]), strict=True)
        }
        yield Scene(way, captures, port, watch)


def states(side: Namespace) -> Counter[str]:
    """Return how many TCP sockets are in which state."""
    with side.inside():
        texts = [Path(f"/proc/thread-self/net/{name}").read_text(encoding="ascii") for name in ("tcp", "tcp6")]
    return Counter(STATES[int(line.split()[3], 16)] for text in texts for line in text.splitlines()[1:])


def send_segments(sender: socket.socket, receiver: socket.socket) -> None:
    """Send SEGMENTS writes of SIZE bytes, and have all of them arrive."""
    sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for _ in range(SEGMENTS):
        sender.sendall(bytes(SIZE))
    receive(receiver, SEGMENTS * SIZE)


def receive(receiver: socket.socket, size: int) -> None:
    """Read exactly so many bytes. (MSG_WAITALL does not wait in a socket that has a time-out.)"""
    while size:
        got = len(receiver.recv(min(size, 1 << 20)))
        assert got, f"{size} bytes never came"
        size -= got


def exchange(sender: socket.socket, receiver: socket.socket, size: int) -> None:
    """Send so many bytes, and read all of them at the other end meanwhile."""
    writing = threading.Thread(target=sender.sendall, args=(bytes(size),))
    writing.start()
    receive(receiver, size)
    writing.join()


def converse(here: Scene, address: str, *, client_waits: bool = False) -> int:
    """Have one connection carry segments both ways and be closed by the client; return the client's port.

    client_waits: it says nothing before the server has the connection, so that only the handshake's ACK can complete it.
    """
    with listening(here.route.server, "::", here.port) as listener:
        client = connect(here.route.client, address, here.port)
        with client, contextlib.ExitStack() as stack:
            if not client_waits:
                client.send(b"!")
            server = stack.enter_context(listener.accept()[0])
            if client_waits:
                client.send(b"!")
            assert server.recv(1) == b"!"
            send_segments(client, server)
            send_segments(server, client)
            client_port: int = client.getsockname()[1]
            client.close()
            assert server.recv(1) == b""
            here.wait_until("client", lambda states: "fin_wait1" not in states, "its FIN is acknowledged")
    here.wait_until_over()
    return client_port


def client_handshake(frames: list[Frame]) -> float:
    """Return the seconds from the first SYN to the first SYN-ACK."""
    syn = next(f for f in frames if f.has(SYN) and not f.has(ACK))
    return (next(f for f in frames if f.has(SYN, ACK)).time_ns - syn.time_ns) / 1e9


def server_handshake(frames: list[Frame]) -> float:
    """Return the seconds from the SYN-ACK to the first segment that acknowledges it; of several by the timestamp."""
    first = next(f for f in frames if f.has(SYN, ACK))
    ack = next(f for f in frames if f.has(ACK) and f.sport == first.dport)
    syn_acks = [f for f in frames if f.has(SYN, ACK) and f.time_ns < ack.time_ns]
    echoed = [f for f in syn_acks if f.stamp == ack.echo] if len(syn_acks) > 1 else syn_acks
    return (ack.time_ns - echoed[0].time_ns) / 1e9


HANDSHAKES = {"client": client_handshake, "server": server_handshake}


def retransmitted_frames(frames: list[Frame], port: int, role: str) -> list[Frame]:
    """Return the retransmissions by one side."""
    return retransmitted([f for f in frames if (f.dport == port) == (role == "client")])


def kinds(events: list[Event]) -> Counter[str]:
    """Return the number of segments of retransmissions that left, by kind."""
    counts: Counter[str] = Counter()
    for event in events:
        counts[event["retransmit_kind"]] += 0 if event["failed"] else event["segments"]
    return +counts
