"""Where a connection is at each record, by the absolute sequence numbers that tshark reads on the wire of the same run.

Every test goes the same way: place() opens a connection with a capture at each end, carry() has seven segments go one way and
an answer the other, end() closes both sides. Then a record is compared with the wire. Say the client's SYN has the number 5000:
then its first byte has 5001 and, after 7 * 1000 bytes, its FIN 12001. So at the step from FIN_WAIT1 to FIN_WAIT2, when the FIN
is acknowledged, the record has to say

    (send_unacknowledged, send_next) == (fin + 1, fin + 1) == (12002, 12002)

which the table in the first test writes as ("client", "fin_wait1", "fin_wait2"): (fin + 1, fin + 1, None). The third number is
receive_next; None stands where the order of the peer's segments decides, which no test can know.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kernel.capture import ACK, FIN, SYN, Capture, Frame, capture
from tests.kernel.ends import unread
from tests.kernel.following import POSITIONS, Following, Record, following, is_partial
from tests.kernel.net import SERVER as NEAR, Link
from tests.kernel.path import CLIENT, DEVICE, SERVER, Route, route
from tests.kernel.scene import SEGMENTS, SIZE, receive, retransmitted_frames
from tests.kernel.traffic import connect, listening
from tests.kernel.until import until
from tests.needs import shown
from tracer.model.tcp import KIND, STATE

pytestmark = [pytest.mark.kernel, pytest.mark.needs("tshark", "tcpdump", "nft")]

ANSWER = 300
AFTER_FIN = {STATE[name] for name in ("fin_wait1", "fin_wait2", "closing", "last_ack", "time_wait", "close")}


@dataclass(frozen=True)
class Here:
    """A route with a capture at each end, and both ends of a connection on it."""

    way: Route
    captures: dict[str, Capture]
    client: socket.socket
    server: socket.socket
    port: int

    def frames(self, role: str) -> list[Frame]:
        """Return what one side's device has seen of the connection."""
        return [f for f in self.captures[role].frames() if self.port in (f.sport, f.dport)]


@pytest.fixture(name="follow", scope="module")
def fixture_follow(service: int) -> Iterator[Following]:
    """Return programs that tell all of the file's service."""
    with following(service, segments=True) as follow:
        yield follow


@contextmanager
def place(service: int, directory: Path) -> Iterator[Here]:
    """Yield an open connection on a route."""
    with (
        route() as way,
        capture(way.client, DEVICE, service, directory / "client.pcap", marker_to=SERVER[4]) as left,
        capture(way.server, DEVICE, service, directory / "server.pcap", marker_to=CLIENT[4]) as right,
        listening(way.server, SERVER[4], service) as listener,
        connect(way.client, SERVER[4], service) as client,
    ):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server, (_, port) = listener.accept()
        with server:
            yield Here(way, {"client": left, "server": right}, client, server, port)


def carry(here: Here) -> None:
    """Have segments come to the server, and then one to the client, none of which anybody waits for in recv()."""
    for _ in range(SEGMENTS):
        here.client.sendall(bytes(SIZE))
    until(lambda: unread(here.server) == SEGMENTS * SIZE, "all has come")
    receive(here.server, SEGMENTS * SIZE)
    here.server.sendall(bytes(ANSWER))
    until(lambda: unread(here.client) == ANSWER, "the answer has come")
    receive(here.client, ANSWER)


def end(here: Here) -> None:
    """End both sides, the client's first."""
    here.client.shutdown(socket.SHUT_WR)
    assert here.server.recv(1) == b""
    here.server.close()
    assert here.client.recv(1) == b""


def syns(frames: list[Frame]) -> tuple[int, int]:
    """Return the initial sequence numbers of client and server."""
    (syn,) = {f.sequence for f in frames if f.has(SYN) and not f.has(ACK)}
    (syn_ack,) = {f.sequence for f in frames if f.has(SYN, ACK)}
    return syn, syn_ack


def fins(frames: list[Frame], service: int) -> tuple[int, int]:
    """Return the number of the FIN of client and server."""
    (client,) = {f.end - 1 for f in frames if f.has(FIN) and f.dport == service}
    (server,) = {f.end - 1 for f in frames if f.has(FIN) and f.sport == service}
    return client, server


def numbers(record: Record) -> tuple[int, int, int]:
    """Return SND.UNA, SND.NXT and RCV.NXT."""
    return int(record["send_unacknowledged"]), int(record["send_next"]), int(record["receive_next"])


def sum_up(record: Record) -> None:
    """Fail unless the arithmetic of bpf/follow.h holds."""
    space = 2**32
    sent, outstanding = int(record["sent_bytes"]), int(record["unacknowledged_bytes"])
    first, peers = int(record["initial_sequence"]), int(record["peer_initial_sequence"])
    una, following_number, expected = numbers(record)
    fin = (una + outstanding - first - 1 - sent) % space
    peer_fin = (expected - peers - 1 - int(record["received_bytes"])) % space
    # a FIN of ours that is not acknowledged yet has left the sum
    assert fin in {0, 1}, record
    assert peer_fin in {0, 1}, record
    assert (following_number - first - 1) % space <= sent + 1
    if record["to_state"] not in AFTER_FIN:
        assert fin == 0


def test_every_step_is_at_the_numbers_that_are_on_the_wire(follow: Following, service: int, tmp_path: Path) -> None:
    with place(service, tmp_path) as here:
        carry(here)
        end(here)
        follow.first(here.port, "close", "client")
        follow.first(here.port, "close", "server")
        frames = here.frames("client")
    (ours, theirs), (fin, peer_fin) = syns(frames), fins(frames, service)
    expected = {
        ("client", "syn_sent", "established"): (ours + 1, ours + 1, theirs + 1),
        ("client", "established", "fin_wait1"): (None, fin, peer_fin),
        ("client", "fin_wait1", "fin_wait2"): (fin + 1, fin + 1, None),
        ("client", "fin_wait2", "close"): (fin + 1, fin + 1, peer_fin + 1),
        ("server", "syn_recv", "established"): (theirs + 1, theirs + 1, ours + 1),
        ("server", "established", "close_wait"): (None, peer_fin, fin + 1),
        ("server", "close_wait", "last_ack"): (None, peer_fin, fin + 1),
        ("server", "last_ack", "close"): (peer_fin + 1, peer_fin + 1, fin + 1),
    }
    for (role, before, after), wanted in expected.items():
        record = follow.step(here.port, role, before, after)
        for number, want in zip(numbers(record), wanted, strict=True):
            assert want is None or number == want % 2**32, (role, before, after)
        assert (record["initial_sequence"], record["peer_initial_sequence"]) == (
            (ours, theirs) if role == "client" else (theirs, ours)
        )


def test_the_arithmetic_holds_in_every_record_of_a_connection(follow: Following, service: int, tmp_path: Path) -> None:
    with place(service, tmp_path) as here:
        carry(here)
        end(here)
        follow.first(here.port, "close", "client")
        close = follow.first(here.port, "close", "server")
    opening = {STATE["close"], STATE["listen"]}
    records = [r for r in follow.of(here.port) if r["from_state"] not in opening or r["kind"] == KIND["call"]]
    kinds = ("state", "handshake", shown("calls", "call"), "segment", "close")
    assert {r["kind"] for r in records} == {KIND[name] for name in kinds if name}
    for record in records:
        sum_up(record)
    assert (close["sent_bytes"], close["received_bytes"], close["unacknowledged_bytes"]) == (ANSWER, SEGMENTS * SIZE, 0)
    assert (close["sent_data_segments"], close["received_data_segments"]) == (1, SEGMENTS)


def test_at_the_first_step_no_number_is_known(follow: Following, link: Link, service: int) -> None:
    with listening(link.server, NEAR[4], service) as listener, connect(link.client, NEAR[4], service):
        server, (_, port) = listener.accept()
        server.close()
        follow.first(port, "handshake", "client")
        begun = follow.step(port, "server", "listen", "syn_recv")
        connection = follow.first(port, "handshake", "client")["connection"]
    first = next(r for r in follow.records if r["connection"] == connection)
    assert (first["from_state"], first["to_state"]) == (STATE["close"], STATE["syn_sent"])
    for record in (first, begun):
        assert [int(record[name]) for name in POSITIONS] == [0] * len(POSITIONS)
        assert (record["sent_bytes"], record["initial_sequence"]) == (0, 0)


def test_a_syn_that_nobody_answers_is_at_its_own_number(follow: Following, service: int, tmp_path: Path) -> None:
    with (
        route() as way,
        capture(way.client, DEVICE, service, tmp_path / "client.pcap", marker_to=SERVER[4]) as wire,
        way.client.inside(),
        socket.socket() as client,
    ):
        way.rule(f"tcp dport {service} drop")
        client.bind(("", 0))
        port = client.getsockname()[1]
        client.setblocking(False)
        client.connect_ex((SERVER[4], service))
        again = follow.first(port, "retransmit", "client")
        client.close()
        failed = follow.first(port, "failure", "client")
        (syn,) = {f.sequence for f in wire.frames() if f.has(SYN)}
    for record in (again, failed):
        assert numbers(record) == (syn, (syn + 1) % 2**32, 0)
        assert (record["initial_sequence"], record["peer_initial_sequence"]) == (syn, 0)
        assert (record["sent_bytes"], record["unacknowledged_bytes"]) == (0, 0)


def test_a_retransmission_and_a_reset_say_where_the_connection_is(follow: Following, service: int, tmp_path: Path) -> None:
    with place(service, tmp_path) as here:
        here.way.lose(f"tcp dport {service} tcp flags & psh == psh")
        here.client.sendall(bytes(SIZE))
        again = follow.first(here.port, "retransmit", "client")
        until(lambda: unread(here.server) == SIZE, "it has come")
        here.server.close()
        reset = follow.first(here.port, "reset", "client")
        told = follow.first(here.port, "reset", "server")
        frames = here.frames("client")
    ours, theirs = syns(frames)
    (frame,) = retransmitted_frames(frames, service, "client")
    assert again["sequence"] == frame.sequence == (ours + 1) % 2**32
    assert numbers(again) == ((ours + 1) % 2**32, (ours + 1 + SIZE) % 2**32, (theirs + 1) % 2**32)
    assert (again["unacknowledged_bytes"], again["congestion_window"]) == (SIZE, 1 if again["retransmit_kind"] == 4 else 10)
    assert numbers(reset) == ((ours + 1 + SIZE) % 2**32, (ours + 1 + SIZE) % 2**32, (theirs + 1) % 2**32)
    assert numbers(told) == ((theirs + 1) % 2**32, (theirs + 1) % 2**32, (ours + 1 + SIZE) % 2**32)


def test_of_an_older_connection_the_position_is_known_even_so(tmp_path: Path, port: int) -> None:
    with place(port, tmp_path) as here:
        carry(here)
        with following(port) as follow:
            here.client.sendall(bytes(SIZE))
            receive(here.server, SIZE)
            end(here)
            steps = [
                follow.step(here.port, "client", "established", "fin_wait1"),
                follow.step(here.port, "client", "fin_wait2", "close"),
                follow.step(here.port, "server", "last_ack", "close"),
            ]
        frames = here.frames("client")
    (ours, theirs), (fin, peer_fin) = syns(frames), fins(frames, port)
    before, after, servers = steps
    assert all(is_partial(step) for step in steps)
    for step in steps:
        sum_up(step)
    assert (before["initial_sequence"], before["peer_initial_sequence"]) == (ours, theirs)
    assert (servers["initial_sequence"], servers["peer_initial_sequence"]) == (theirs, ours)
    assert before["sent_bytes"] == (SEGMENTS + 1) * SIZE
    assert before["send_next"] == fin
    assert numbers(after)[2] == (peer_fin + 1) % 2**32


def test_the_segments_that_arrive_are_those_on_the_wire(follow: Following, service: int, tmp_path: Path) -> None:
    with place(service, tmp_path) as here:
        carry(here)
        end(here)
        follow.first(here.port, "close", "client")
        follow.first(here.port, "close", "server")
        frames = {role: here.frames(role) for role in ("client", "server")}
    fin = fins(frames["client"], service)[0]
    # what reaches the server as ESTABLISHED: all behind the handshake's ACK, up to the FIN
    servers = [_written(f) for f in frames["server"] if f.dport == service and not f.has(SYN)][1:]
    ends = next(i for i, segment in enumerate(servers) if segment[2] & FIN)
    assert [_told(r) for r in follow.of(here.port, "segment", "server")] == servers[: ends + 1]
    # and the client: all behind the SYN-ACK that does not acknowledge its FIN yet
    clients = [_written(f) for f in frames["client"] if f.sport == service and not f.has(SYN)]
    told = [_told(r) for r in follow.of(here.port, "segment", "client")]
    assert [s for s in told if s[3]] == [s for s in clients if s[3]]
    assert set(told) <= set(clients)
    assert all(acknowledged != fin + 1 for _, acknowledged, _, _ in told)


def _written(frame: Frame) -> tuple[int, int, int, int]:
    return frame.sequence, frame.acknowledgment, frame.flags & 0xFF, frame.length


def _told(record: Record) -> tuple[int, int, int, int]:
    names = ("sequence", "acknowledgement", "control_bits", "payload_bytes")
    sequence, acknowledgement, flags, payload = (int(record[name]) for name in names)
    return sequence, acknowledgement, flags, payload
