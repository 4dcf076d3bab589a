"""The command `tcptrace follow`, started as people start it, and a conversation that it can draw."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.kernel.announced import attached
from tests.kernel.net import Namespace
from tests.kernel.path import SERVER, Route
from tests.kernel.scene import receive, send_segments, states
from tests.kernel.traffic import connect, listening
from tests.kernel.until import PATIENCE, complaints, until
from tests.needs import ROOT

FOLLOW = (sys.executable, "-m", "tracer", "follow")
HERE = "127.0.0.1"
ANSWER = 500


@contextmanager
def following(
    *options: str, port: int, side: Namespace | None = None, stdout: int = subprocess.PIPE
) -> Iterator[subprocess.Popen[str]]:
    """Yield a running command, attached; afterwards it is gone."""
    command = [*FOLLOW, "--port", str(port), *options]
    process = subprocess.Popen(
        side.command(*command) if side else command,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )
    with attached(process):
        yield process


def ended(process: subprocess.Popen[str]) -> str:
    """Return what a process that ends by itself has printed, after it ended well."""
    out, log = process.communicate(timeout=PATIENCE)
    assert (process.returncode, complaints(log)) == (0, "")
    return out or ""


def converse(way: Route, port: int) -> None:
    """Send segments one way and an answer the other, and close both ends, the client's first."""
    with listening(way.server, SERVER[4], port) as listener:
        client = connect(way.client, SERVER[4], port)
        with client, listener.accept()[0] as server:
            send_segments(client, server)
            server.sendall(bytes(ANSWER))
            receive(client, ANSWER)
            client.shutdown(socket.SHUT_WR)
            assert server.recv(1) == b""
            until(lambda: states(way.client)["fin_wait2"], "the client's FIN is acknowledged")
            server.close()
            assert client.recv(1) == b""
        until(lambda: way.client.open_sockets() + way.server.open_sockets() == 0, "both ends have closed")
