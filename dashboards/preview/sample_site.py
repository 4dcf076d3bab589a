"""A small made-up site for pictures to show: two web servers, a database, and users near and far, each a network namespace.

tests/bench/demo.py has one link and fifteen seconds, which is right for a recording and too little for a dashboard: curves
want minutes, several hosts, and something that goes wrong while one looks on.
"""

from __future__ import annotations

import contextlib
import math
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from tests.kernel.net import Namespace, namespace
from tests.kernel.relay import relay
from tests.kernel.traffic import connect, listening
from tests.needs import tool

WEB, DATABASE, CACHE, PARTNER, NOBODY = 443, 5432, 6379, 8443, 8080
HOSTS = {"front-1": "10.30.1.2", "front-2": "10.30.2.2", "db-1": "10.30.3.2"}
USERS = {"near": ("10.30.8.2", 0.006), "far": ("10.30.9.2", 0.045)}
"""Address, and the seconds that a packet takes from there to the router."""

RATES = {("near", "front-1"): 6, ("far", "front-1"): 3, ("near", "front-2"): 5, ("far", "front-2"): 2}
"""New connections a second, on average."""

LINGER_ZERO = struct.pack("ii", 1, 0)

Answer = Callable[["Site", str, socket.socket], None]
"""What is done with a connection that came in: the site, the host's name, the connection."""


@dataclass
class Site:
    """Namespaces by name, joined by a router. over: set when nobody is to do anything any more."""

    router: Namespace
    sides: dict[str, Namespace]
    over: threading.Event = field(default_factory=threading.Event)
    listeners: dict[tuple[str, int], socket.socket] = field(default_factory=dict)

    def lose(self, name: str, percent: float) -> None:
        """Lose so much of what goes to and comes from a host, from now on; one host at a time."""
        rules = "; ".join(
            f"ip {way} {HOSTS[name]} numgen random mod 1000 < {percent * 10:.0f} drop" for way in ("daddr", "saddr")
        )
        self._rules("loss", rules)

    def silence(self, port: int) -> None:
        """Let nothing through to a service, as if its host were gone; port 0 ends it."""
        self._rules("silence", f"tcp dport {port} drop" if port else "")

    def _rules(self, table: str, rules: str) -> None:
        chain = f"chain way {{ type filter hook forward priority 0; {rules}; }};" if rules else ""
        text = f"table inet {table}\ndelete table inet {table}\ntable inet {table} {{ {chain} }}"
        self.router.run(tool("nft"), "-f", "-", text=text)

    def open(self, name: str, port: int, answer: Answer) -> None:
        """Have a host listen on a port, and answer every connection in a thread of its own."""
        start(self._serve, name, port, answer)

    def close(self, name: str, port: int) -> None:
        """Have a host no longer listen on a port: connections that are open go on."""
        self.listeners.pop((name, port)).shutdown(socket.SHUT_RDWR)  # which ends accept()

    def _serve(self, name: str, port: int, answer: Answer) -> None:
        with listening(self.sides[name], address_of(name), port) as listener:
            listener.settimeout(None)
            self.listeners[name, port] = listener
            while not self.over.is_set():
                start(answer, self, name, listener.accept()[0])


@contextmanager
def site() -> Iterator[Site]:
    """Yield the hosts with their network, on which nothing happens yet."""
    with ExitStack() as stack:
        router = stack.enter_context(namespace())
        sides = {name: stack.enter_context(namespace()) for name in (*HOSTS, *USERS)}
        router.set("net.ipv4.ip_forward", "1")
        for name, address in HOSTS.items():
            router.run(tool("ip"), "link", "add", name, "type", "veth", "peer", "name", "wire", "netns", sides[name].path)
            give_addresses(router, name, sides[name], address)
        for name, (address, delay) in USERS.items():
            stack.enter_context(relay((router, name), (sides[name], "wire"), delay))
            give_addresses(router, name, sides[name], address)
        for side in sides.values():
            side.set("net.ipv4.tcp_syn_retries", "2")  # who is silent is given up after seven seconds
        yield Site(router, sides)


def give_addresses(router: Namespace, device: str, side: Namespace, address: str) -> None:
    """Configure both ends of a wire: the router is the network's .1."""
    gateway = address[:-1] + "1"
    router.run(tool("ip"), "-batch", "-", text=f"link set {device} up\naddress add {gateway}/24 dev {device}")
    steps = f"link set wire up\naddress add {address}/24 dev wire\nroute add default via {gateway}"
    side.run(tool("ip"), "-batch", "-", text=steps)


def address_of(name: str) -> str:
    """Return the address of a host, or of the users' place."""
    return HOSTS[name] if name in HOSTS else USERS[name][0]


def start(function: Callable[..., None], *arguments: object) -> None:
    """Run a function in a thread that ends with the process; what the network does to it is what is wanted here."""

    def run() -> None:
        with contextlib.suppress(OSError):
            function(*arguments)

    threading.Thread(target=run, daemon=True).start()


def begin(here: Site) -> None:
    """Start every service and all the users; they go on until the site is over."""
    here.open("db-1", DATABASE, answer_query)
    here.open("db-1", CACHE, answer_query)
    here.open("near", PARTNER, answer_query)
    for front in ("front-1", "front-2"):
        here.open(front, WEB, answer_user)
        for port in (DATABASE, PARTNER):
            start(keep_asking, here, front, port)
    for (users, front), rate in RATES.items():
        start(arrive, here, users, front, rate)


def arrive(here: Site, users: str, front: str, rate: float) -> None:
    """Let users come at random moments, more of them in some minutes than in others."""
    began = time.monotonic()
    while not here.over.is_set():
        tide = 1 + 0.35 * math.sin((time.monotonic() - began) / 300 * 2 * math.pi)
        time.sleep(random.expovariate(rate * tide))
        start(visit, here, users, front)


def visit(here: Site, users: str, front: str) -> None:
    """Be one user: some pages with pauses, a long stay, a page given up half-way, or a port where nobody listens."""
    side, luck = here.sides[users], random.random()
    if luck < 0.02:
        connect(side, HOSTS[front], NOBODY).close()
    with connect(side, HOSTS[front], WEB) as sock:
        for _ in range(40 if luck < 0.06 else random.randint(1, 4)):
            read_page(sock)
            if luck > 0.96:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
                return
            time.sleep(random.expovariate(1))
        sock.shutdown(socket.SHUT_WR)
        sock.recv(1)


def read_page(sock: socket.socket) -> None:
    """Ask for a page, and read it to its end: four bytes say how long it is."""
    sock.sendall(b"?" * 400)
    left = int.from_bytes(sock.recv(4, socket.MSG_WAITALL))
    while left:
        left -= len(sock.recv(min(left, 65536))) or left


def answer_user(here: Site, name: str, sock: socket.socket) -> None:
    """Answer with pages, for which a cache, a database or a partner has to be asked first."""
    with sock:
        while sock.recv(4096):
            for port, share in ((CACHE, 0.5), (DATABASE, 0.15), (PARTNER, 0.08)):
                if random.random() < share:
                    with contextlib.suppress(OSError):
                        ask(here, name, port, random.randint(1, 3))
            size = min(int(random.expovariate(1 / 25_000)), 250_000)
            sock.sendall(size.to_bytes(4) + bytes(size))


def keep_asking(here: Site, name: str, port: int) -> None:
    """Keep a connection for a while and use it now and then, as a pool does; open another when it breaks."""
    while not here.over.is_set():
        with contextlib.suppress(OSError):
            ask(here, name, port, random.randint(5, 60), pause=0.5)
        time.sleep(1)


def ask(here: Site, name: str, port: int, questions: int, pause: float = 0.02) -> None:
    """Ask another host some questions on one connection, with the patience of an application."""
    address = address_of("near" if port == PARTNER else "db-1")
    with here.sides[name].inside():
        sock = socket.socket()
    with sock:
        sock.settimeout(random.choice((2, 12)))
        sock.connect((address, port))
        for _ in range(questions):
            sock.sendall(b"?" * 120)
            sock.recv(65536)
            time.sleep(random.expovariate(1 / pause))


def answer_query(here: Site, name: str, sock: socket.socket) -> None:
    """Answer short questions until the other side has none left, or this side is no longer there."""
    port = sock.getsockname()[1]
    with sock:
        while sock.recv(4096) and (name, port) in here.listeners:
            sock.sendall(bytes(random.randint(50, 4000)))
