"""What send() and recv() gave to the application, and under which number it has its socket."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.kernel.ends import abort
from tests.kernel.following import Following, Record, following
from tests.kernel.net import Namespace
from tests.kernel.path import SERVER, Route, route
from tests.kernel.traffic import PING, PONG, connect, listening
from tests.kernel.until import until
from tracer.model.tcp import STATE

pytestmark = pytest.mark.kernel

WORKER = """
import os, socket
server = socket.socket(fileno=LISTENER).accept()[0]
server.recv(4)
print(os.getpid(), server.fileno(), flush=True)
server.recv(1)
"""


@pytest.fixture(name="follow", scope="module")
def fixture_follow(service: int) -> Iterator[Following]:
    """Return programs that tell all of the file's service."""
    with following(service) as follow:
        yield follow


@contextmanager
def pair(side: Namespace, port: int) -> Iterator[tuple[socket.socket, socket.socket, int]]:
    """Yield both ends of a connection within a namespace, and the client's port."""
    with listening(side, "127.0.0.1", port) as listener, connect(side, "127.0.0.1", port) as client:
        server, (_, client_port) = listener.accept()
        with server:
            yield client, server, client_port


def fails(call: str, end: socket.socket, number: int) -> None:
    """Have a call fail with an errno."""
    with pytest.raises(OSError, match=re.escape(os.strerror(number))):
        end.send(b"x") if call == "send" else end.recv(1)


def opening(follow: Following, handshake: Record) -> Record:
    """Return the change of state with which a connection began, when it had no port yet."""
    found = [r for r in follow.records if r["connection"] == handshake["connection"]]
    first: Record = found[0]
    return first


@contextmanager
def descriptors(count: int) -> Iterator[None]:
    """Have room for so many, where the limit is 1,024 as on most machines."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("others", [0, 150, 1000], ids=["few", "150 open before", "1,000 open before"])
def test_the_descriptor_is_the_one_that_the_client_has(follow: Following, side: Namespace, service: int, others: int) -> None:
    with ExitStack() as stack:
        stack.enter_context(descriptors(others + 1000))
        for _ in range(others):
            stack.callback(os.close, os.dup(0))
        client, _, port = stack.enter_context(pair(side, service))
        handshake = follow.first(port, "handshake", "client")
        first = opening(follow, handshake)
        known = client.fileno() if client.fileno() < 1024 else -1
    assert (first["from_state"], first["to_state"]) == (STATE["close"], STATE["syn_sent"])
    assert {first["descriptor"], handshake["descriptor"]} == {known}
    assert first["pid"] == os.getpid()


@pytest.mark.needs_kernel("calls")
def test_the_worker_that_reads_is_told_with_its_own_descriptor_and_stays_the_connections(
    follow: Following, side: Namespace, service: int
) -> None:
    with listening(side, "127.0.0.1", service) as listener:
        listener.settimeout(None)
        code = WORKER.replace("LISTENER", str(listener.fileno()))
        command = [sys.executable, "-c", code]
        with subprocess.Popen(command, pass_fds=[listener.fileno()], stdout=subprocess.PIPE, text=True) as worker:
            client = connect(side, "127.0.0.1", service)
            with client:
                port = client.getsockname()[1]
                client.sendall(PING)
                assert worker.stdout is not None
                pid, descriptor = map(int, worker.stdout.readline().split())
    assert follow.first(port, "handshake", "server")["pid"] == 0  # two processes could have accepted it
    read = follow.call(port, "server", "receive", len(PING))
    end = follow.first(port, "close", "server")
    for record in (read, end):
        assert (record["pid"], record["descriptor"], record["process"]) == (pid, descriptor, b"python")


@pytest.mark.needs_kernel("calls")
def test_the_first_success_each_way_and_the_end_of_the_stream_are_told_once(
    follow: Following, side: Namespace, service: int
) -> None:
    with pair(side, service) as (client, server, port):
        for _ in range(3):
            client.sendall(PING)
            assert server.recv(len(PING)) == PING
            server.sendall(PONG)
            assert client.recv(len(PONG)) == PONG
        client.shutdown(socket.SHUT_WR)
        for _ in range(2):
            assert server.recv(1) == b""
        server.close()
        assert client.recv(1) == b""
        follow.call(port, "client", "receive", 0)
    told = {role: [(r["call"], r["error"]) for r in follow.of(port, "call", role)] for role in ("client", "server")}
    assert told == {"client": [(1, 4), (2, 5), (2, 0)], "server": [(2, 4), (1, 5), (2, 0)]}


@pytest.mark.needs_kernel("calls")
def test_a_call_that_is_to_be_made_again_is_not_told(follow: Following, side: Namespace, service: int) -> None:
    with pair(side, service) as (client, server, port):
        client.setblocking(False)
        fails("receive", client, errno.EAGAIN)
        server.sendall(PONG)
        until(lambda: len(client.recv(len(PONG), socket.MSG_PEEK)) == len(PONG), "it has come")
        follow.call(port, "client", "receive", len(PONG))
    assert [r["error"] for r in follow.of(port, "call", "client")] == [len(PONG)]


@pytest.mark.needs_kernel("calls")
def test_to_read_nothing_is_no_end_of_the_stream(follow: Following, side: Namespace, service: int) -> None:
    with pair(side, service) as (client, server, port):
        assert client.recv(0) == b""
        server.sendall(PONG)
        client.recv(100)
        follow.call(port, "client", "receive", len(PONG))
        assert follow.of(port, "call", "client", error=0) == []


@pytest.mark.needs_kernel("calls")
def test_a_reset_shows_as_the_error_that_the_application_got_after_the_close(
    follow: Following, side: Namespace, service: int
) -> None:
    with pair(side, service) as (client, server, port):
        abort(server)
        end = follow.first(port, "close", "client")
        fails("receive", client, errno.ECONNRESET)
        got = follow.call(port, "client", "receive", -errno.ECONNRESET)
        fails("send", client, errno.EPIPE)
        with contextlib.suppress(OSError):
            client.recv(1)
        assert len(follow.of(port, "call", "client")) == 1
        assert (got["connection"], got["from_state"], got["to_state"]) == (end["connection"], STATE["close"], STATE["close"])
        assert (got["descriptor"], got["pid"]) == (client.fileno(), os.getpid())


@pytest.mark.needs_kernel("calls")
def test_to_send_behind_ones_own_end_is_told_as_a_broken_pipe(follow: Following, side: Namespace, service: int) -> None:
    with pair(side, service) as (client, _, port):
        client.shutdown(socket.SHUT_WR)
        fails("send", client, errno.EPIPE)
        got = follow.call(port, "client", "send", -errno.EPIPE)
        assert got["from_state"] in {STATE["fin_wait1"], STATE["fin_wait2"]}


@pytest.mark.needs("nft")
@pytest.mark.needs_kernel("calls")
def test_patience_that_ran_out_is_told_as_a_time_out(follow: Following, service: int) -> None:
    with route() as way, way_pair(way, service) as (client, _, port):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 300)
        client.sendall(PING)
        follow.call(port, "client", "send", len(PING))
        way.rule(f"tcp dport {service} drop")
        client.sendall(PING)
        fails("receive", client, errno.ETIMEDOUT)
        got = follow.call(port, "client", "receive", -errno.ETIMEDOUT)
        assert got["unacknowledged_bytes"] == len(PING)


@contextmanager
def way_pair(way: Route, port: int) -> Iterator[tuple[socket.socket, socket.socket, int]]:
    with listening(way.server, SERVER[4], port) as listener, connect(way.client, SERVER[4], port) as client:
        server, (_, client_port) = listener.accept()
        with server:
            yield client, server, client_port


@pytest.mark.needs_kernel("calls")
def test_a_socket_that_lives_on_as_another_connection_is_not_taken_for_the_first(
    follow: Following, side: Namespace, service: int
) -> None:
    with pair(side, service) as (client, server, port):
        abort(server)
        follow.first(port, "close", "client")
        client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        with listening(side, "127.0.0.1") as elsewhere:  # a service that nobody follows
            with contextlib.suppress(ConnectionAbortedError):  # the first one only says what became of the old connection
                client.connect(elsewhere.getsockname())
            client.connect(elsewhere.getsockname())
            again = client.getsockname()[1]
            other = elsewhere.accept()[0]
            abort(other)
            fails("receive", client, errno.ECONNRESET)
        assert follow.of(port, "call", "client") == []
        assert follow.of(again, "call", "client") == []
