"""Connections whose entries lie in slots: where the first one is taken there is another, and where none is free it is said."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kernel.asked import Asked, asked
from tests.kernel.ends import disconnect
from tests.kernel.net import Namespace
from tests.kernel.traffic import connect, listening
from tests.kernel.unreached import Unreached
from tests.kernel.until import until
from tests.needs import skip_for_lack_of
from tracer.model.tcp import STATE

pytestmark = pytest.mark.kernel

ENTRIES = 64
FEW, SOME, TOO_MANY, MANY = 10, 40, 100, 20_000
ROUNDS = 3

ESTABLISHED, CLOSING = STATE["established"], {STATE["fin_wait1"], STATE["fin_wait2"], STATE["close_wait"]}


@dataclass(frozen=True)
class Crowd:
    """What is in the slots: states of entries, and how many entries are of a socket that has another one.

    flagged, away, displaced: how many are not in their first slots, by themselves, by their first slots and by the table.
    """

    states: list[int]
    flagged: int
    away: int
    displaced: int
    twice: int
    untracked: int
    unreached: int


class Crowded:
    """Programs that run. sides: how many entries a connection has."""

    def __init__(self, programs: Asked, sides: int) -> None:
        self._programs = programs
        self.sides = sides

    def now(self, what: str = "") -> Crowd:
        """Look; before that, what: `miss` every change of state from now on, or `see` them again."""
        return Crowd(**self._programs.ask(what))


@contextmanager
def crowded(side: Namespace, *ports: int) -> Iterator[Crowded]:
    """Yield programs with few slots, which are gone afterwards: for all of a namespace, or for clients of a port."""
    with asked("crowded.py", ENTRIES, Path(side.path).stat().st_ino, *ports) as programs:
        if programs.first != "attached":
            skip_for_lack_of(f"casts, without which there are no slots ({programs.first})")
        yield Crowded(programs, sides=1 if ports else 2)


@pytest.fixture(params=["clients", "all"])
def slots(side: Namespace, service: int, request: pytest.FixtureRequest) -> Iterator[Crowded]:
    with crowded(side, *[service] if request.param == "clients" else []) as programs:
        yield programs


def test_who_finds_its_first_slot_taken_has_another_until_its_end(
    side: Namespace, service: int, slots: Crowded, unreached: Unreached
) -> None:
    for _ in range(ROUNDS):
        unreached.forget()
        with ExitStack() as stack:
            listener = stack.enter_context(listening(side, "127.0.0.1", service))
            clients = [stack.enter_context(connect(side, "127.0.0.1", service)) for _ in range(SOME // slots.sides)]
            servers = [stack.enter_context(listener.accept()[0]) for _ in clients]
            opened = slots.now()
            for client, server in zip(clients, servers, strict=True):
                client.shutdown(socket.SHUT_WR)
                assert server.recv(1) == b""
            closing = slots.now()
        until(lambda: side.open_sockets() == 0, "every connection has ended")
        left, missed = slots.now(), unreached.hits().at(service)
        if missed.every:  # then some entries are not as far as their sockets, or still there
            continue
        n = opened.displaced
        assert n > 0
        assert opened == Crowd([ESTABLISHED] * SOME, n, n, n, 0, 0, 0)
        assert set(closing.states) <= CLOSING
        assert closing == Crowd(closing.states, n, n, n, 0, 0, 0)
        assert len(closing.states) == SOME
        assert left == Crowd([], 0, 0, 0, 0, 0, 0)


def test_who_finds_no_slot_is_counted_once(side: Namespace, service: int, slots: Crowded, unreached: Unreached) -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(listening(side, "127.0.0.1", service))
        for _ in range(TOO_MANY):
            stack.enter_context(connect(side, "127.0.0.1", service))
            stack.enter_context(listener.accept()[0])
        full = slots.now()
    until(lambda: side.open_sockets() == 0, "every connection has ended")
    left, missed = slots.now(), unreached.hits().at(service)
    unseen = [missed.transitions[begun] for begun in (("close", "syn_sent"), ("listen", "syn_recv"))]
    assert ENTRIES / 2 < len(full.states) <= ENTRIES
    assert full.untracked == TOO_MANY * slots.sides - len(full.states) - sum(unseen[: slots.sides])
    assert left.untracked == full.untracked
    assert len(left.states) <= missed.ends()


def test_a_socket_whose_end_was_missed_has_one_entry_when_it_connects_again(
    side: Namespace, service: int, unreached: Unreached
) -> None:
    with crowded(side) as slots, ExitStack() as stack:
        listener = stack.enter_context(listening(side, "127.0.0.1", service))
        with ExitStack() as others:  # which have the first slots of some, and give them up
            for _ in range(FEW):
                others.enter_context(connect(side, "127.0.0.1", service))
                others.enter_context(listener.accept()[0])
            clients = [stack.enter_context(connect(side, "127.0.0.1", service)) for _ in range(FEW)]
            for _ in clients:
                stack.enter_context(listener.accept()[0])
        until(lambda: side.open_sockets() == FEW * 2, "the others have ended")
        slots.now("miss")
        for client in clients:
            disconnect(client)
        missed = slots.now("see")
        for client in clients:
            client.connect(("127.0.0.1", service))
        again = slots.now()
    assert again.twice == 0
    if not unreached.hits().at(service).every:
        assert missed.states == [ESTABLISHED] * FEW * 2
        assert again.unreached == FEW
        assert again.states == [ESTABLISHED] * FEW * 3


@pytest.mark.needs("gcc")
def test_slots_over_which_cpus_have_fought_are_free_again(
    side: Namespace, service: int, churn: Path, slots: Crowded, unreached: Unreached
) -> None:
    side.run(str(churn), "2", str(MANY), str(service))
    until(lambda: side.open_sockets() == 0, "every connection has ended")
    left, missed = slots.now(), unreached.hits().at(service, service + 1)
    assert len(left.states) <= missed.ends()
    if not missed.ends():
        assert left == Crowd([], 0, 0, 0, 0, left.untracked, 0)
