"""Network namespaces for tests: made, joined, disturbed on purpose, and asked for the kernel's own counts.

A namespace here has no name, only a descriptor, so that nothing stays behind whatever becomes of the tests. Sockets belong
to the namespace in which they were made; a thread steps in, makes them, and steps out again.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.kernel.until import PATIENCE, until
from tests.needs import tool

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
OWN = "/proc/thread-self/ns/net"

CLIENT = {4: "10.23.0.1", 6: "fd23::1"}
SERVER = {4: "10.23.0.2", 6: "fd23::2"}
SERVER_TOO = {4: "10.23.1.2", 6: "fd23:1::2"}
"""A second address of the server, of another network, that the client reaches as well."""

_numbers = itertools.count(1)


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@dataclass(frozen=True)
class Namespace:
    """A network namespace, alive as long as its descriptor, or a process or socket in it."""

    fd: int

    @property
    def path(self) -> str:
        """A path of it for programs that want one."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Have this thread in the namespace: sockets made now belong to it, and /proc/thread-self/net shows it."""
        before = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(LIBC.setns(self.fd, CLONE_NEWNET))
            yield
        finally:
            _check(LIBC.setns(before, CLONE_NEWNET))
            os.close(before)

    def command(self, *arguments: str) -> list[str]:
        """Return the command that runs another one in the namespace; it keeps its process id, and its view of /sys."""
        return [tool("nsenter"), f"--net={self.path}", *arguments]

    def run(self, *arguments: str, text: str = "") -> str:
        """Run a program in the namespace, with text as its input, and return its output; fails when it does."""
        done = subprocess.run(
            self.command(*arguments), input=text, capture_output=True, text=True, check=False, timeout=PATIENCE
        )
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def counters(self) -> dict[str, int]:
        """Return the kernel's own counts of TCP and MPTCP here, by the names they have in /proc/net/snmp and netstat."""
        with self.inside():
            texts = [Path(f"/proc/thread-self/net/{name}").read_text(encoding="ascii") for name in ("snmp", "netstat")]
        lines = [
            line.split() for text in texts for line in text.splitlines() if line.startswith(("Tcp:", "TcpExt:", "MPTcpExt:"))
        ]
        return {
            name: int(value)
            for names, values in zip(lines[::2], lines[1::2], strict=True)
            for name, value in zip(names[1:], values[1:], strict=True)
        }

    def open_sockets(self) -> int:
        """Return how many TCP sockets there are that are neither listening nor in TIME_WAIT."""
        with self.inside():
            texts = [Path(f"/proc/thread-self/net/{name}").read_text(encoding="ascii") for name in ("tcp", "tcp6")]
        states = [line.split()[3] for text in texts for line in text.splitlines()[1:]]
        return sum(state not in {"06", "0A"} for state in states)

    def set(self, name: str, value: str) -> None:
        """Set a sysctl of the namespace, such as net.ipv4.ip_local_port_range."""
        with self.inside():
            Path("/proc/sys", *name.split(".")).write_text(value, encoding="ascii")

    def drop(self, match: str, *, first: int = 1, count: int = 1, hook: str = "input") -> None:
        """Drop `count` of the packets that match (in nft's language), beginning with the first-th of them.

        hook: input or output of this namespace. Rules go with the namespace.
        """
        table = f"drop{next(_numbers)}"
        which = f"{first - 1}-{first + count - 2}" if count > 1 else str(first - 1)
        rule = f"{match} numgen inc mod 1000000 {which} drop"
        chain = f"chain loss {{ type filter hook {hook} priority 0; {rule}; }}"
        self.run(tool("nft"), "-f", "-", text=f"table inet {table} {{ {chain}; }}")


@dataclass(frozen=True)
class Link:
    """Two namespaces joined by a veth pair, with the addresses CLIENT and SERVER of both families."""

    client: Namespace
    server: Namespace


@contextmanager
def namespace() -> Iterator[Namespace]:
    """Yield a fresh namespace in which nothing is up but lo."""
    before = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(LIBC.unshare(CLONE_NEWNET))
        fresh = Namespace(os.open(OWN, os.O_RDONLY | os.O_CLOEXEC))
    finally:
        _check(LIBC.setns(before, CLONE_NEWNET))
        os.close(before)
    try:
        fresh.run(tool("ip"), "link", "set", "lo", "up")
        yield fresh
    finally:
        os.close(fresh.fd)


@contextmanager
def link() -> Iterator[Link]:
    """Yield two fresh namespaces that reach each other over IPv4 and IPv6 at once."""
    with ExitStack() as stack:
        client, server = (stack.enter_context(namespace()) for _ in range(2))
        client.run(tool("ip"), "link", "add", "veth", "type", "veth", "peer", "name", "veth", "netns", server.path)
        _configure(client, f"{CLIENT[4]}/24", f"{CLIENT[6]}/64")
        _configure(server, f"{SERVER[4]}/24", f"{SERVER[6]}/64", f"{SERVER_TOO[4]}/24", f"{SERVER_TOO[6]}/64")
        for family, network in ((4, "10.23.1.0/24"), (6, "fd23:1::/64")):
            client.run(tool("ip"), "route", "add", network, "via", SERVER[family])
        for side in (client, server):
            until(lambda side=side: _is_up(side), "the veth pair is up")  # type: ignore[misc]
        yield Link(client, server)


def _configure(side: Namespace, *addresses: str) -> None:
    """Give addresses, usable at once: nobody else can have them, so that no detection of duplicates is needed."""
    for address in addresses:
        nodad = ["nodad"] if ":" in address else []
        side.run(tool("ip"), "address", "add", address, "dev", "veth", *nodad)
    side.run(tool("ip"), "link", "set", "veth", "up")


def _is_up(side: Namespace) -> bool:
    (device,) = json.loads(side.run(tool("ip"), "-j", "address", "show", "dev", "veth"))
    return bool(device["operstate"] == "UP")
