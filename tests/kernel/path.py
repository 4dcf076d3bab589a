"""A client and a server with a router between them, where packets can be lost, refused or delayed out of sight of both.

What is dropped at the router was sent, as the sender's device shows, and never arrived, as the receiver's shows: a capture on
either side has exactly what that side's kernel has seen. (nftables at the receiver would drop behind the capture, and at the
sender would tell TCP.) All devices send single segments, so that a packet, a segment and a frame of a capture are one.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.kernel.net import Namespace, namespace
from tests.kernel.relay import relay
from tests.kernel.until import SLOWNESS, until
from tests.needs import tool

CLIENT = {4: "10.24.0.1", 6: "fd24::1"}
SERVER = {4: "10.24.1.2", 6: "fd24:1::2"}
DEVICE = "wire"

DELAY = 0.02 * SLOWNESS + 0.00025
"""A little over 20 ms: kernels measure some things in whole milliseconds, and 40.5 is safe from rounding both ways.

More in an emulated machine: what is to happen while a packet is on its way takes longer there, too.
"""

_LEFT, _RIGHT = {4: "10.24.0.254", 6: "fd24::fe"}, {4: "10.24.1.254", 6: "fd24:1::fe"}

SETTINGS = {
    "net.ipv4.tcp_congestion_control": "reno",  # no pacing, no state of its own
    "net.ipv4.tcp_autocorking": "0",  # a write is a segment
    "net.ipv4.tcp_no_metrics_save": "1",  # nothing is remembered of the last connection
}


@dataclass(frozen=True)
class Route:
    """Three namespaces in a row; CLIENT and SERVER are the addresses at its ends, DEVICE the name of the device at each."""

    client: Namespace
    router: Namespace
    server: Namespace

    @property
    def ends(self) -> dict[str, Namespace]:
        """The two ends by role."""
        return {"client": self.client, "server": self.server}

    def lose(self, match: str, *, first: int = 1, count: int = 1) -> None:
        """Lose some of the packets that match (in nft's language), on their way."""
        self.router.drop(match, first=first, count=count, hook="forward")

    def rule(self, rule: str, *, at_server: bool = False) -> None:
        """Have a rule of nft for all packets on their way, or that reach the server, such as `tcp dport 80 drop`."""
        side, hook = (self.server, "input") if at_server else (self.router, "forward")
        chain = f"chain way {{ type filter hook {hook} priority 0; {rule}; }}"
        side.run(tool("nft"), "-f", "-", text=f"table inet way {{ {chain}; }}")

    def set(self, name: str, value: str) -> None:
        """Set a sysctl at both ends."""
        for side in self.ends.values():
            side.set(name, value)


@contextmanager
def route(delay: float = 0) -> Iterator[Route]:
    """Yield a route, on which packets take so many seconds from one end to the other."""
    with ExitStack() as stack:
        client, router, server = (stack.enter_context(namespace()) for _ in range(3))
        for side in (client, router, server):
            side.set("net.ipv6.conf.default.accept_dad", "0")  # nobody else can have their addresses, so there is no wait
        _veth(client, router, "left")
        if delay:
            stack.enter_context(relay((router, "right"), (server, DEVICE), delay))
        else:
            _veth(server, router, "right")
        router.set("net.ipv4.ip_forward", "1")
        router.set("net.ipv6.conf.all.forwarding", "1")
        _configure(router, "left", _LEFT, gateway=None)
        _configure(router, "right", _RIGHT, gateway=None)
        _configure(client, DEVICE, CLIENT, gateway=_LEFT)
        _configure(server, DEVICE, SERVER, gateway=_RIGHT)
        found = Route(client, router, server)
        for name, value in SETTINGS.items():
            found.set(name, value)
        for family in (4, 6):
            until(lambda family=family: _reaches(found, family), "both ends know the way")  # type: ignore[misc]
        yield found


def _veth(end: Namespace, router: Namespace, name: str) -> None:
    end.run(tool("ip"), "link", "add", DEVICE, "type", "veth", "peer", "name", name, "netns", router.path)


def _reaches(found: Route, family: int) -> bool:
    """Whether a datagram gets there and its answer back: devices are up, and the neighbours have been asked for."""
    kind = socket.AF_INET6 if family == 6 else socket.AF_INET
    with found.client.inside():
        client = socket.socket(kind, socket.SOCK_DGRAM)
    with found.server.inside():
        server = socket.socket(kind, socket.SOCK_DGRAM)
    with client, server, contextlib.suppress(TimeoutError):
        client.settimeout(0.1 * SLOWNESS)
        server.settimeout(0.1 * SLOWNESS)
        server.bind((SERVER[family], 7))
        client.sendto(b"there?", (SERVER[family], 7))
        server.sendto(*server.recvfrom(100))
        return bool(client.recv(100))
    return False


def _configure(side: Namespace, device: str, address: dict[int, str], *, gateway: dict[int, str] | None) -> None:
    """Give addresses, usable at once, and the way to the other end."""
    steps = [f"link set {device} gso_max_segs 1 up", f"address add {address[4]}/24 dev {device}"]
    steps += [f"address add {address[6]}/64 dev {device} nodad"]
    if gateway:
        steps += [f"route add default via {gateway[4]}", f"route add default via {gateway[6]}"]
    side.run(tool("ip"), "-batch", "-", text="\n".join(steps))
