"""Ways to open and to end that no two kernels take when one wants it: segment by segment, against a peer that the test plays.

What the position is at each change of state is what bpf/follow.h says.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.kernel.capture import ACK, FIN, SYN
from tests.kernel.following import Following, Record, following
from tests.kernel.net import Namespace
from tests.kernel.wire import THERE, Segment, Wire, wire

pytestmark = pytest.mark.kernel

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
        while (segment := self._peer.read()).flags & flags != flags:
            pass
        return segment

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
