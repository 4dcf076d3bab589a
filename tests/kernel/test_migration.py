"""Connections that wait for accept() when their listener ends, and go to another one of its port (net.ipv4.tcp_migrate_req)."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.kernel.net import SERVER, Link
from tests.kernel.traffic import connect
from tests.kernel.until import until
from tests.kernel.watching import Watching
from tests.needs import skip_for_lack_of

SERVE_ONE_WHEN_TOLD = """
import os, socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])), reuse_port=True)
print("ready", flush=True)
if sys.stdin.readline() == "accept\\n":
    connection = listener.accept()[0]
    connection.sendall(b"%d" % os.getpid())
    connection.recv(1)
    connection.close()
"""


@contextmanager
def listener(link: Link, port: int) -> Iterator[subprocess.Popen[str]]:
    """Yield a process that listens, and accepts one connection when it is told to."""
    command = link.server.command(sys.executable, "-I", "-c", SERVE_ONE_WHEN_TOLD, SERVER[4], str(port))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.communicate()


def served_after_migration(link: Link, port: int, watch: Watching) -> tuple[int, int, int]:
    """Connect to one listener, which ends, so that another one serves; return the client's port, and both pids."""
    with listener(link, port) as first, connect(link.client, SERVER[4], port) as client:
        client_port = client.getsockname()[1]
        until(lambda: watch.of(client_port, "handshake", "server"), "it waits to be accepted")
        with listener(link, port) as second:
            first.communicate()
            print("accept", file=second.stdin, flush=True)
            pid = int(client.recv(16))
            client.shutdown(socket.SHUT_RDWR)
    return client_port, first.pid, pid


def test_who_serves_a_connection_that_has_migrated_is_named(watch: Watching, service: int, link: Link) -> None:
    if "TCPMigrateReqSuccess" not in link.server.counters():  # the setting alone says nothing: 5.10's last ones have it
        skip_for_lack_of("the migration of connections that wait")
    link.server.set("net.ipv4.tcp_migrate_req", "1")
    client_port, first, second = served_after_migration(link, service, watch)
    handshake, close = (watch.one(client_port, kind, "server") for kind in ("handshake", "close"))
    assert (handshake["pid"], close["pid"]) == (first, second)
    assert (close["reason"], close["sent_bytes"], close["received_bytes"]) == ("normal", len(str(second)), 0)
    assert not watch.of(client_port, "failure")
    assert link.server.counters()["TCPMigrateReqSuccess"] == 1
