"""Against real listening sockets of a child process."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tracer.kernel.listeners import find_listening

CHILD = """
import os, socket, sys
open("/proc/self/comm", "w").write("a listener\\n")
made = []
for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))[: int(sys.argv[1])]:
    for listens in (True, True, False):
        made.append(socket.socket(family))
        made[-1].bind((address, 0))
        if listens:
            made[-1].listen()
            print(made[-1].getsockname()[1], end=" ")
print(flush=True)
input()
"""

# One more process that holds the same sockets, as a server's workers do; and two more sockets on the same port.
SHARED = """
import os, socket
def listener(port):
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(("127.0.0.1", port))
    made.listen()
    return made
first = listener(0)
port = first.getsockname()[1]
second, third = listener(port), listener(port)
if os.fork():
    print(port, flush=True)
input()
"""

OWN_NETNS = Path("/proc/self/ns/net").stat().st_ino


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


@contextmanager
def child(code: str, *arguments: str) -> Iterator[list[int]]:
    """Run a process with listening sockets; yield the numbers that it prints."""
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield [int(number) for number in process.stdout.readline().split()]
        process.communicate("\n\n")


def at(port: int) -> int | None:
    """Return how many sockets listen on a port; while others open and close many, the kernel can pass over one now and then."""
    return max(filter(None, (find_listening().get((OWN_NETNS, port)) for _ in range(5))), default=None)


def test_the_ipv4_listeners_of_another_process_are_found() -> None:
    with child(CHILD, "1") as ports:
        assert len(ports) == 2
        assert [at(port) for port in ports] == [1, 1]


def test_a_socket_that_only_has_an_address_listens_nowhere() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        assert at(sock.getsockname()[1]) is None


@pytest.mark.skipif(not has_ipv6(), reason="needs IPv6 on the loopback device")
def test_ipv6_listeners_are_found_too() -> None:
    with child(CHILD, "2") as ports:
        assert len(ports) == 4
        assert [at(port) for port in ports] == [ports.count(port) for port in ports]


def test_sockets_that_share_a_port_are_counted_whoever_holds_them() -> None:
    with child(SHARED) as (port,):
        assert at(port) == 3


def test_a_closed_listener_is_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert at(port) == 1
    assert at(port) is None
