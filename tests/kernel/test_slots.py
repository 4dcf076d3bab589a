"""Connections whose entries lie in slots: where the first one is taken there is another, and where none is free it is said."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kernel.asked import Asked, asked
from tests.kernel.net import Namespace
from tests.kernel.traffic import connect, listening
from tests.kernel.unreached import Unreached
from tests.kernel.until import until
from tests.needs import skip_for_lack_of
from tracer.model.tcp import STATE

pytestmark = pytest.mark.kernel

ENTRIES = 64
SOME, TOO_MANY, MANY = 40, 100, 20_000
ROUNDS = 3

ESTABLISHED, CLOSING = STATE["established"], {STATE["fin_wait1"], STATE["fin_wait2"]}


@dataclass(frozen=True)
class Crowd:
    """What is in the slots: states of entries, claims, and how many are displaced, by their first slots and by the table."""

    states: list[int]
    claims: int
    away: int
    displaced: int
    untracked: int


class Crowded:
    """Programs that run."""

    def __init__(self, programs: Asked) -> None:
        self._programs = programs

    def now(self) -> Crowd:
        """Look."""
        return Crowd(**self._programs.ask())


@contextmanager
def crowded(port: int) -> Iterator[Crowded]:
    """Yield programs with few slots, which are gone afterwards."""
    with asked("crowded.py", ENTRIES, port) as programs:
        if programs.first != "attached":
            skip_for_lack_of(f"casts, without which there are no slots ({programs.first})")
        yield Crowded(programs)


@pytest.fixture
def slots(service: int) -> Iterator[Crowded]:
    with crowded(service) as programs:
        yield programs


def test_who_finds_its_first_slot_taken_has_another_until_its_end(
    side: Namespace, service: int, slots: Crowded, unreached: Unreached
) -> None:
    for _ in range(ROUNDS):
        unreached.forget()
        with ExitStack() as stack:
            listener = stack.enter_context(listening(side, "127.0.0.1", service))
            clients = [stack.enter_context(connect(side, "127.0.0.1", service)) for _ in range(SOME)]
            servers = [stack.enter_context(listener.accept()[0]) for _ in range(SOME)]
            opened = slots.now()
            for client, server in zip(clients, servers, strict=True):
                client.shutdown(socket.SHUT_WR)
                assert server.recv(1) == b""
            closing = slots.now()
        until(lambda: side.open_sockets() == 0, "every connection has ended")
        left, missed = slots.now(), unreached.hits().at(service)
        if missed.every:  # then some entries are not as far as their sockets, or still there
            continue
        assert opened == Crowd([ESTABLISHED] * SOME, SOME, opened.displaced, opened.displaced, 0)
        assert opened.displaced > 0
        assert set(closing.states) <= CLOSING
        assert closing == Crowd(closing.states, SOME, opened.displaced, opened.displaced, 0)
        assert len(closing.states) == SOME
        assert left == Crowd([], 0, 0, 0, 0)


def test_who_finds_no_slot_is_counted_once(side: Namespace, service: int, slots: Crowded, unreached: Unreached) -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(listening(side, "127.0.0.1", service))
        for _ in range(TOO_MANY):
            stack.enter_context(connect(side, "127.0.0.1", service))
            stack.enter_context(listener.accept()[0])
        full = slots.now()
    until(lambda: side.open_sockets() == 0, "every connection has ended")
    left, missed = slots.now(), unreached.hits().at(service)
    assert ENTRIES / 2 < len(full.states) <= ENTRIES
    assert full.claims == len(full.states)
    assert full.untracked == TOO_MANY - len(full.states) - missed.transitions["close", "syn_sent"]
    assert left.untracked == full.untracked
    assert len(left.states) <= missed.ends()


@pytest.mark.needs("gcc")
def test_slots_over_which_cpus_have_fought_are_free_again(
    side: Namespace, service: int, churn: Path, slots: Crowded, unreached: Unreached
) -> None:
    side.run(str(churn), "2", str(MANY), str(service))
    until(lambda: side.open_sockets() == 0, "every connection has ended")
    left, missed = slots.now(), unreached.hits().at(service, service + 1)
    assert len(left.states) <= missed.ends()
    if not missed.ends():
        assert left == Crowd([], 0, 0, 0, left.untracked)
