"""Against real listening sockets of a child process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tracer.kernel.listeners import Listener, find_listeners

CHILD = """
import socket, sys
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

OWN_NETNS = Path("/proc/self/ns/net").stat().st_ino


def ports_of(pid: int) -> set[tuple[int, int]]:
    return {(listener.netns, listener.port) for listener in find_listeners(pid) if listener.pid == pid}


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


@contextmanager
def child(families: int) -> Iterator[tuple[int, set[int]]]:
    """Run a process with listening sockets; yield its pid and their ports."""
    command = [sys.executable, "-c", CHILD, str(families)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.pid, {int(port) for port in process.stdout.readline().split()}
        process.communicate("\n")


def test_the_ipv4_listeners_of_another_process_are_found_and_no_other_sockets() -> None:
    with child(1) as (pid, ports):
        assert len(ports) == 2
        assert ports_of(pid) == {(OWN_NETNS, port) for port in ports}


@pytest.mark.skipif(not has_ipv6(), reason="needs IPv6 on the loopback device")
def test_ipv6_listeners_are_found_too() -> None:
    with child(2) as (pid, ports):
        assert len(ports) >= 3
        assert ports_of(pid) == {(OWN_NETNS, port) for port in ports}


def test_another_process_listener_is_not_this_ones() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, child(1) as (pid, _):
        port = server.getsockname()[1]
        assert (OWN_NETNS, port) in ports_of(os.getpid())
        assert (OWN_NETNS, port) not in ports_of(pid)


def test_a_closed_listener_is_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert (OWN_NETNS, port) not in ports_of(os.getpid())


def test_a_process_that_has_gone_listens_nowhere() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert ports_of(process.pid) == set()


def test_a_port_that_two_sockets_share_is_one_entry_with_both_and_the_owners_name() -> None:
    with socket.socket() as one, socket.socket() as other:
        for sock in (one, other):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(("127.0.0.1", one.getsockname()[1] if sock is other else 0))
            sock.listen()
        port = one.getsockname()[1]
        (found,) = (listener for listener in find_listeners(os.getpid()) if listener.port == port)
    assert found == Listener(OWN_NETNS, port, 2, os.getpid(), Path("/proc/self/comm").read_text(encoding="utf-8").strip())
