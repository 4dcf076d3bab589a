"""Changes of state that reached no program, made on purpose: the programs are detached for as long as they last.

A kernel may skip hits by itself, and says so nowhere. What it leaves behind is the same: a table that is behind the sockets.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.kernel.beginnings import fresh
from tests.kernel.ends import disconnect
from tests.kernel.following import Following
from tests.kernel.net import Namespace
from tests.kernel.traffic import connect, listening
from tracer.ingest.livesource import LiveSource
from tracer.kernel.bpf import attach
from tracer.kernel.filters import Filters
from tracer.kernel.handoff import Loaded
from tracer.kernel.launch import load_programs
from tracer.kernel.settings import Reads, Settings
from tracer.model.tcp import CELL, FLAG

pytestmark = pytest.mark.kernel

HERE = "127.0.0.1"
POINT = "inet_sock_set_state"


class Programs(Following):
    """Programs that run, but not always."""

    def __init__(self, loaded: Loaded) -> None:
        self._program, attached = loaded.programs[POINT]
        self._attached = [attached, *loaded.held]
        self._point = POINT if loaded.reads == Reads.CALLS else None
        super().__init__(LiveSource(loaded))

    @contextmanager
    def blind(self) -> Iterator[None]:
        """Have no change of state reach a program meanwhile."""
        nothing = os.open(os.devnull, os.O_RDONLY)
        try:
            for fd in self._attached:
                os.dup2(nothing, fd)  # the source closes them in the end
            yield
            self._attached = [attach(self._program, self._point)]
        finally:
            os.close(nothing)

    def unreached(self) -> int:
        """Return how many missed changes of state are known."""
        reading = self.source.read()
        assert reading is not None
        self._batches.append(reading.records)
        return int(reading.cells[CELL["unreached"]])


@pytest.fixture(name="programs")
def fixture_programs(service: int) -> Iterator[Programs]:
    """Return programs that see one service's clients, in every namespace."""
    programs = Programs(load_programs(Settings(Filters(ports=(service,), role="client"))))
    try:
        yield programs
    finally:
        for fd in programs._attached:
            os.close(fd)
        programs.source.close()


def test_changes_of_state_that_were_missed_are_counted_when_a_later_one_tells(
    programs: Programs, side: Namespace, service: int
) -> None:
    with listening(side, HERE, service) as listener:
        with connect(side, HERE, service) as client, listener.accept()[0] as server:
            port = client.getsockname()[1]
            programs.first(port, "handshake", "client")
            with programs.blind():
                server.shutdown(socket.SHUT_WR)
                assert client.recv(1) == b""
            assert programs.unreached() == 0
        end = programs.first(port, "close", "client")
        assert end["flags"] & FLAG["gap"]
        assert programs.unreached() == 1

        # the end of a socket, known by its next connection
        with fresh(side, HERE) as client:
            client.connect((HERE, service))
            with programs.blind(), listener.accept()[0]:
                disconnect(client)
            client.connect((HERE, service))
            programs.first(client.getsockname()[1], "handshake", "client")
            listener.accept()[0].close()
    assert programs.unreached() == 2
