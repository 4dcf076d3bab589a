"""Payload to the byte: what the programs wrote and read, whatever became of the connection, without the SYN and the FIN."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable

import pytest

from tests.kernel.ends import Pair, abort, unread
from tests.kernel.path import SERVER, route
from tests.kernel.scene import ROLES, exchange, receive
from tests.kernel.traffic import connect, listening
from tests.kernel.until import until
from tests.kernel.watching import Watching

pytestmark = pytest.mark.needs("nft")

CONNECTIONS = 23
LARGEST = 300_000
SEED = 1122


def client_closes(pair: Pair) -> None:
    pair.client.close()
    assert pair.server.recv(1) == b""


def server_closes(pair: Pair) -> None:
    pair.server.close()
    assert pair.client.recv(1) == b""


def client_aborts(pair: Pair) -> None:
    abort(pair.client)


def server_aborts(pair: Pair) -> None:
    abort(pair.server)


def server_aborts_when_the_client_has_ended(pair: Pair) -> None:
    pair.client.shutdown(socket.SHUT_WR)
    assert pair.server.recv(1) == b""
    abort(pair.server)


ENDS = (client_closes, server_closes, client_aborts, server_aborts, server_aborts_when_the_client_has_ended)


def converse(pair: Pair, random_size: Callable[[], int], number: int) -> tuple[int, int]:
    """Carry data of random sizes, some after one side has ended, some that nobody reads; return what each side sent.

    What nobody reads has arrived all the same.
    """
    up, down = random_size(), random_size()
    exchange(pair.client, pair.server, up)
    exchange(pair.server, pair.client, down)
    if number % 3 == 0:  # half-closed: the answer comes when the client has ended
        pair.client.shutdown(socket.SHUT_WR)
        assert pair.server.recv(1) == b""
        late = random_size()
        exchange(pair.server, pair.client, late)
        down += late
    elif number % 3 == 1:
        ignored = random_size() % 1000 + 1
        pair.client.sendall(bytes(ignored))
        until(lambda: unread(pair.server) == ignored, "the data are there")
        up += ignored
        if number % 2:  # the server's end is a reset, then
            pair.server.close()
            return up, down
        receive(pair.server, ignored)
    ENDS[number % len(ENDS)](pair)
    return up, down


def test_payload_of_many_connections_is_exact(watch: Watching, service: int) -> None:
    generator = random.Random(SEED)
    sent: dict[int, tuple[int, int]] = {}
    with route() as way, listening(way.server, "::", service) as listener:
        for number in range(CONNECTIONS):
            client = connect(way.client, SERVER[4 + number % 2 * 2], service)
            with client, listener.accept()[0] as server:
                client_port = client.getsockname()[1]
                pair = Pair(client, server, way, service)
                sent[client_port] = converse(pair, lambda: generator.randrange(LARGEST), number)
        assert sum(way.ends[role].counters()["TCPAbortOnClose"] for role in ROLES) > 0
        reasons = set()
        for client_port, (up, down) in sent.items():
            for role, expected in (("client", (up, down)), ("server", (down, up))):
                end = watch.one(client_port, "close", role)
                assert (end["sent_bytes"], end["received_bytes"]) == expected, end
                assert end["reason"] != "normal" or end["unacknowledged_bytes"] == 0
                reasons.add(end["reason"])
    assert len(sent) == CONNECTIONS
    assert reasons == {"normal", "reset_sent", "reset_received"}


@pytest.mark.parametrize("closes", [socket.socket.close, abort])
def test_payload_that_never_arrived_was_sent_and_is_unacknowledged(
    watch: Watching, service: int, closes: Callable[[socket.socket], None]
) -> None:
    with route() as way, listening(way.server, SERVER[4], service) as listener:
        way.client.set("net.ipv4.tcp_orphan_retries", "1")
        client = connect(way.client, SERVER[4], service)
        with client, listener.accept()[0] as server:
            client_port = client.getsockname()[1]
            exchange(client, server, 100_000)
            way.rule(f"tcp dport {service} drop")
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 300)
            client.sendall(bytes(2_300))
            closes(client)
            end = watch.one(client_port, "close", "client")
            abort(server)
            other = watch.one(client_port, "close", "server")
    assert (end["sent_bytes"], end["unacknowledged_bytes"], end["received_bytes"]) == (102_300, 2_300, 0)
    assert (other["sent_bytes"], other["received_bytes"]) == (0, 100_000)
