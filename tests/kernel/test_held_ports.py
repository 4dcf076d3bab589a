"""Ports that bind() takes away from all destinations until the last of their sockets is gone; connect() is refused."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.kernel.net import Namespace
from tests.kernel.tracing import tracing
from tests.kernel.traffic import Peer, converse, listening
from tests.kernel.until import until

HERE = "127.0.0.1"
BOUND, CONNECTED, ENDED = 5, 3, 2
RANGE = "40000 40009"
LISTENING = 40_000
LEFT = 10 - BOUND - CONNECTED - 1


def bound(side: Namespace) -> socket.socket:
    with side.inside():
        client = socket.socket()
    client.bind((HERE, 0))
    return client


@pytest.mark.needs_kernel("bound_ports")
def test_ports_of_bind_are_held_from_all_destinations_until_the_last_time_wait(side: Namespace, port: int) -> None:
    side.set("net.ipv4.ip_local_port_range", RANGE)
    netns = str(Path(side.path).stat().st_ino)
    # a process lives there, so that it is found, and the tracer elsewhere, as asking it takes a port
    with Peer(side), tracing() as tracer, listening(side, HERE, port) as listener, ExitStack() as stack:

        def held(wanted: int) -> bool:
            scrape = tracer.scrape()
            limit = scrape.value("ephemeral_ports_limit", netns=netns)
            return scrape.value("ephemeral_ports_used", destination="*", netns=netns) == wanted and limit == 10

        stack.enter_context(listening(side, HERE, LISTENING))
        only_bound = [stack.enter_context(bound(side)) for _ in range(BOUND)]
        until(lambda: held(BOUND + 1), "the ports are held that are only bound, and the listener's")
        connected = [bound(side) for _ in range(CONNECTED)]
        ends = []
        for client in connected:
            client.connect((HERE, port))
            ends.append((client, listener.accept()[0]))
        until(lambda: held(BOUND + 1 + CONNECTED), "those of connections are held, too")
        for _ in range(LEFT):
            free = connect_from(side, port)
            stack.enter_context(free)
            stack.enter_context(listener.accept()[0])
        with pytest.raises(OSError, match=os.strerror(errno.EADDRNOTAVAIL)):
            connect_from(side, port)
        for client, server in ends[:ENDED]:
            converse(client, server)
        for client in only_bound:
            client.close()
        until(lambda: held(1 + CONNECTED), "what is left are TIME_WAIT, one connection and the listener")
        for end in ends[-1]:
            end.close()


def test_ports_that_were_bound_before_the_start_are_held_and_those_of_connect_are_not(side: Namespace, port: int) -> None:
    side.set("net.ipv4.ip_local_port_range", RANGE)
    netns = str(Path(side.path).stat().st_ino)
    with Peer(side), listening(side, HERE, port) as listener, ExitStack() as stack:
        for _ in range(CONNECTED):
            client = stack.enter_context(bound(side))
            client.connect((HERE, port))
            stack.enter_context(listener.accept()[0])
        for _ in range(ENDED):
            stack.enter_context(connect_from(side, port))
            stack.enter_context(listener.accept()[0])
        with tracing() as tracer:

            def used(destination: str) -> float | None:
                return tracer.scrape().value("ephemeral_ports_used", destination=destination, netns=netns)

            until(lambda: used(f"{HERE}:{port}") == CONNECTED + ENDED, "all are in use towards their destination")
            assert used("*") == CONNECTED


def connect_from(side: Namespace, port: int) -> socket.socket:
    with side.inside():
        client = socket.socket()
    try:
        client.connect((HERE, port))
    except OSError:
        client.close()
        raise
    return client
