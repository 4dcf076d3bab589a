"""Ways to open and to end that no two kernels take when one wants it: segment by segment, against a peer that the test plays.

What the position is at each change of state is what bpf/follow.h says.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from tests.kernel.beginnings import BOTH_SIDES_WITHOUT_COOKIE, restore, resume, save, waiting
from tests.kernel.capture import ACK, FIN, SYN
from tests.kernel.following import Following, Record, following
from tests.kernel.net import Namespace
from tests.kernel.traffic import connect, listening
from tests.kernel.until import until
from tests.kernel.wire import THERE, Segment, Wire, wire
from tracer.ingest.aborts import settle
from tracer.model.follow.followed import Followed
from tracer.model.follow.steps import Step
from tracer.model.tcp import FLAG

pytestmark = pytest.mark.kernel

HERE = "127.0.0.1"
PEERS = 5_000_000
"""The initial sequence number of the peer that is played."""


@pytest.fixture(name="follow", scope="module")
def fixture_follow(service: int) -> Iterator[Following]:
    """Return programs that tell all of the file's service."""
    with following(service) as follow:
        yield follow


class Played:
    """The played peer of one connection. syn: the SYN that came."""

    def __init__(self, peer: Wire) -> None:
        self._peer = peer
        self.syn = peer.read()
        self.first = self.syn.sequence

    def say(self, flags: int, sequence: int, acknowledgment: int = 0) -> None:
        """Send a segment; sequence and acknowledgment count from both initial numbers."""
        expected = self.first + acknowledgment if flags & ACK else 0
        self._peer.write(Segment(self.syn.dport, self.syn.sport, PEERS + sequence, expected % 2**32, flags))

    def hear(self, flags: int) -> Segment:
        """Wait for a segment with these flags."""
        return self._peer.hear(flags)

    def position(self, record: Record) -> tuple[int, int, int | None]:
        """Return SND.UNA, SND.NXT and RCV.NXT from both initial numbers; None for an RCV.NXT of 0, which is none."""
        una, following_number, expected = (int(record[name]) for name in ("send_unacknowledged", "send_next", "receive_next"))
        theirs = (expected - PEERS) % 2**32 if expected else None
        return (una - self.first) % 2**32, (following_number - self.first) % 2**32, theirs


@contextmanager
def opening(side: Namespace, service: int) -> Iterator[tuple[socket.socket, Played]]:
    """Yield a socket whose SYN is out, and its peer."""
    with wire(side) as peer, side.inside(), socket.socket() as client:
        client.setblocking(False)
        assert client.connect_ex((THERE, service)) == errno.EINPROGRESS
        yield client, Played(peer)


def test_both_open_at_once(follow: Following, side: Namespace, service: int) -> None:
    with opening(side, service) as (_, peer):
        peer.say(SYN, 0)
        peer.hear(SYN | ACK)
        received = follow.step(peer.syn.sport, "client", "syn_sent", "syn_recv")
        peer.say(SYN | ACK, 0, 1)
        peer.say(ACK, 1, 1)  # older kernels answer a SYN-ACK here with a challenge ACK (tcp_validate_incoming)
        open_now = follow.step(peer.syn.sport, "client", "syn_recv", "established")
    assert peer.position(received) == (0, 1, None)
    assert peer.position(open_now) == (1, 1, 1)
    for record in (received, open_now):
        assert (record["initial_sequence"], record["sent_bytes"], record["unacknowledged_bytes"]) == (peer.first, 0, 0)
    assert (received["peer_initial_sequence"], open_now["peer_initial_sequence"]) == (0, PEERS)


def test_both_close_at_once(follow: Following, side: Namespace, service: int) -> None:
    with opening(side, service) as (client, peer):
        peer.say(SYN | ACK, 0, 1)
        peer.hear(ACK)
        client.close()
        peer.hear(FIN)
        peer.say(FIN | ACK, 1, 1)
        ends = [
            follow.step(peer.syn.sport, "client", "established", "fin_wait1"),
            follow.step(peer.syn.sport, "client", "fin_wait1", "closing"),
        ]
        peer.say(ACK, 2, 2)
        ends.append(follow.step(peer.syn.sport, "client", "closing", "close"))
    assert [peer.position(end) for end in ends] == [(1, 1, 1), (1, 2, 2), (2, 2, 2)]
    assert [int(end["unacknowledged_bytes"]) for end in ends] == [0, 0, 0]
    assert [int(end["sent_bytes"]) for end in ends] == [0, 0, 0]


def test_an_orphan_ends_before_the_peers_fin(follow: Following, side: Namespace, service: int) -> None:
    with opening(side, service) as (client, peer):
        peer.say(SYN | ACK, 0, 1)
        peer.hear(ACK)
        client.close()
        peer.hear(FIN)
        peer.say(ACK, 1, 2)
        ends = [
            follow.step(peer.syn.sport, "client", "fin_wait1", "fin_wait2"),
            follow.step(peer.syn.sport, "client", "fin_wait2", "close"),
        ]
    assert [peer.position(end) for end in ends] == [(2, 2, 1), (2, 2, 1)]


def test_data_that_are_out_when_the_end_is_asked_for_are_between_the_numbers(
    follow: Following, side: Namespace, service: int
) -> None:
    with opening(side, service) as (client, peer):
        peer.say(SYN | ACK, 0, 1)
        peer.hear(ACK)
        client.setblocking(True)
        client.sendall(bytes(100))
        client.shutdown(socket.SHUT_WR)
        peer.hear(FIN)
        begun = follow.step(peer.syn.sport, "client", "established", "fin_wait1")
        peer.say(ACK, 1, 102)
        done = follow.step(peer.syn.sport, "client", "fin_wait1", "fin_wait2")
    assert peer.position(begun) == (1, 101, 1)
    assert (begun["sent_bytes"], begun["unacknowledged_bytes"]) == (100, 100)
    assert peer.position(done) == (102, 102, 1)
    assert (done["sent_bytes"], done["unacknowledged_bytes"]) == (100, 0)


def told(follow: Following, connections: set[int]) -> list[Step]:
    """Return what is told of these connections."""
    records = follow.records
    return Followed({}).add(settle(records[np.isin(records["connection"], list(connections))]))


def ids(follow: Following, client_port: int, role: str = "client") -> set[int]:
    return {int(record["connection"]) for record in follow.of(client_port, "", role)}


def test_a_syn_that_waits_for_the_first_send_is_told_when_it_has_left(follow: Following, side: Namespace, service: int) -> None:
    side.set("net.ipv4.tcp_fastopen", BOTH_SIDES_WITHOUT_COOKIE)
    with listening(side, HERE, service) as listener, waiting(side, HERE, service) as client:
        port = client.getsockname()[1]
        begun = until(lambda: [e for e in follow.records if e["flags"] & FLAG["deferred"]], "its beginning is told")[-1]
        (connection,) = {int(begun["connection"])}
        assert [step.kind for step in told(follow, {connection})] == ["opened"]
        client.send(b"hello")
        with listener.accept()[0] as server:
            assert server.recv(5) == b"hello"
            client.close()
            assert server.recv(1) == b""
        first = follow.first(port, "handshake", "client")
        assert ids(follow, port) == {connection}
        follow.first(port, "close", "client")
        steps = told(follow, {connection})
    kinds = [step.kind for step in steps]
    assert kinds[:3] == ["opened", "syn", "syn_ack_received"]
    assert steps[1].initial == int(first["initial_sequence"])
    assert 0 < (steps[1].seconds or 0) < (steps[2].seconds or 0)


def test_a_connection_that_is_restored_is_told_without_a_handshake(follow: Following, side: Namespace, service: int) -> None:
    with listening(side, HERE, service) as listener:
        client = connect(side, HERE, service)
        server, port = listener.accept()[0], client.getsockname()[1]
        saved = save(client), save(server)
        follow.first(port, "close", "client")
        before = ids(follow, port)
        client, server = (restore(side, one) for one in saved)
        for end in (client, server):
            resume(end)
        with client, server:
            client.sendall(b"ping")
            assert server.recv(4) == b"ping"
            client.close()
            assert server.recv(1) == b""
        until(lambda: len(follow.of(port, "close", "client")) == 2, "it is told to its end")
        steps = told(follow, ids(follow, port) - before)
    kinds = [step.kind for step in steps]
    assert kinds[0] == "restored"
    assert not {"syn", "syn_ack_received", "ack_received", "accepted"} & set(kinds)
    assert kinds[-1] == "closed"
