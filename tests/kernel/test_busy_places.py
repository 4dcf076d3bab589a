"""Which connections the kernel counts by itself: those of busy places that are ordinary, between two looks at all sockets."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.kernel.net import Namespace
from tests.kernel.plenty import EVERY, ORDERLY, REASONS, client_first, connections, reach
from tests.kernel.tallying import Tallying, tallying
from tests.kernel.traffic import listening
from tests.kernel.unreached import Unreached
from tests.kernel.until import until
from tracer.ingest import places
from tracer.kernel.settings import Reads

HERE = {4: "127.0.0.1", 6: "::1"}
ROLES = ("client", "server")
MANY, SOME, FEW = 3_000, 400, 7


@pytest.fixture(autouse=True)
def fixture_on_one_cpu() -> Iterator[None]:
    """Have all connections on one CPU: each has busy places of its own."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def make_busy(tally: Tallying, listener: socket.socket, side: Namespace) -> None:
    """Have this service, and its clients, be counted."""

    def is_counted() -> bool:
        before = tally.counted.copy()
        with side.inside():
            connections(listener, ORDERLY, FEW)
        tally.read()
        return all(tally.counted[key] > before[key] for key in (("close", role) for role in ROLES))

    until(is_counted, "clients and servers are counted")


def hold(
    tally: Tallying, listener: socket.socket, side: Namespace, stack: ExitStack
) -> list[tuple[socket.socket, socket.socket]]:
    """Return connections that are open, whose handshakes were counted."""
    before = tally.counted.copy()
    with side.inside():
        held = [reach(listener) for _ in range(FEW)]
    for pair in held:
        for end in pair:
            stack.enter_context(end)
    tally.read()
    assert tally.counted - before == {("handshake", role): FEW for role in ROLES}
    return held


@pytest.mark.parametrize(("family", "reads"), [(4, Reads.CASTS), (4, Reads.TYPED), (4, Reads.CALLS), (6, Reads.CASTS)])
def test_connections_of_busy_places_have_no_records(
    side: Namespace, port: int, family: int, reads: Reads, unreached: Unreached
) -> None:
    with tallying(port, reads) as tally, listening(side, HERE[family], port) as listener:
        with side.inside():
            connections(listener, ORDERLY, MANY)
        hits = unreached.hits().at(port)
        handshakes, ends = tally.all("handshake"), tally.all("close")
    edges = hits.transitions
    assert handshakes == {"client": MANY - edges["syn_sent", "established"], "server": MANY - edges["syn_recv", "established"]}
    assert ends.total() == 2 * MANY - hits.ends()
    assert all(tally.counted[kind, role] > MANY / 2 for kind in ("handshake", "close") for role in ROLES)


def test_an_end_that_is_not_in_order_has_a_record_with_its_reason(side: Namespace, port: int) -> None:
    with tallying(port) as tally, listening(side, HERE[4], port) as listener:
        make_busy(tally, listener, side)
        before, counted = tally.reasons.copy(), tally.counted.copy()
        with side.inside():
            made = connections(listener, EVERY, SOME)
        tally.read()
    resets = Counter(reason for way, count in made.items() for reason in REASONS.get(way, ()) for _ in range(count))
    grown = tally.reasons - before
    orderly = tally.counted - counted
    assert {reason: count for reason, count in grown.items() if reason != "normal"} == resets
    assert grown["normal"] + orderly["close", "client"] + orderly["close", "server"] == 2 * SOME - resets.total()
    assert orderly["close", "client"] > 0


def end_with_records(tally: Tallying, held: list[tuple[socket.socket, socket.socket]]) -> None:
    """End what was held open: each side has a record of its end, and nothing is counted."""
    before, counted = tally.recorded.copy(), tally.counted.copy()
    for pair in held:
        client_first(*pair)
    tally.read()
    assert tally.recorded - before == {("close", role): len(held) for role in ROLES}
    assert tally.counted == counted


def test_a_connection_that_a_look_at_all_sockets_has_found_has_a_record_of_its_end(side: Namespace, port: int) -> None:
    with tallying(port) as tally, listening(side, HERE[4], port) as listener, ExitStack() as stack:
        make_busy(tally, listener, side)
        held = hold(tally, listener, side, stack)
        tally.look()
        end_with_records(tally, held)


def test_while_all_sockets_are_looked_at_every_connection_has_records(side: Namespace, port: int) -> None:
    with tallying(port) as tally, listening(side, HERE[4], port) as listener:
        make_busy(tally, listener, side)
        with tally.places.apart():
            tally.read()
            before, counted = tally.recorded.copy(), tally.counted.copy()
            with side.inside():
                connections(listener, ORDERLY, SOME)
            tally.read()
        tally.read()
        assert tally.recorded - before == {(kind, role): SOME for kind in ("handshake", "close") for role in ROLES}
        assert tally.counted == counted
        make_busy(tally, listener, side)


def test_a_place_that_was_idle_has_records_until_it_is_busy_again(
    side: Namespace, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tallying(port) as tally, listening(side, HERE[4], port) as listener, ExitStack() as stack:
        make_busy(tally, listener, side)
        held = hold(tally, listener, side, stack)
        assert tally.is_busy()
        with monkeypatch.context() as patch:
            patch.setattr(places, "IDLE_NS", 0)
            until(lambda: not tally.is_busy(), "no place is busy any more")
        end_with_records(tally, held)
        make_busy(tally, listener, side)
        ends, before = tally.all("close"), tally.recorded.copy()
        with side.inside():
            connections(listener, ORDERLY, SOME)
        assert tally.all("close") - ends == dict.fromkeys(ROLES, SOME)
        assert (tally.recorded - before)["close", "client"] < SOME


def test_clients_that_chose_their_port_by_bind_have_records_and_their_servers_none(side: Namespace, port: int) -> None:
    with tallying(port) as tally, listening(side, HERE[4], port) as listener:
        make_busy(tally, listener, side)
        before, counted = tally.recorded.copy(), tally.counted.copy()
        with side.inside():
            connections(listener, ORDERLY, SOME, HERE[4])
        tally.read()
    told, silent = tally.recorded - before, tally.counted - counted
    for kind in ("handshake", "close"):
        assert (told[kind, "client"], silent[kind, "client"]) == (SOME, 0)
        assert told[kind, "server"] + silent[kind, "server"] == SOME
        assert silent[kind, "server"] > 0
