"""Counts over time: nothing is lost as the columns widen, and of many peers those with most stay apart."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.model.builder import SECOND, events
from tracer.ingest.decode import Events
from tracer.model.overtime import COLUMNS, LATENCIES, PEERS, HandshakesOverTime, OverTime, RetransmissionsOverTime
from tracer.model.tcp import ROLE

RNG = np.random.default_rng(23)


@pytest.mark.parametrize("span_ns", [1, SECOND, 10**6 * SECOND, 2**62])
def test_no_count_is_lost_however_long_it_takes(span_ns: int) -> None:
    times = np.sort(RNG.integers(0, span_ns, 1000, np.int64).astype(np.uint64))
    rows = RNG.integers(0, 3, 1000)
    counted = OverTime(3, 0)
    for part in range(0, 1000, 37):
        counted.add(rows[part : part + 37], times[part : part + 37])
    found = counted.timeline()
    assert found.counts.shape[1] <= COLUMNS
    expected = np.zeros_like(found.counts)
    np.add.at(expected, (rows, times.astype(np.int64) // found.width_ns), 1)
    assert (found.counts == expected).all()
    assert (counted.totals == np.bincount(rows, minlength=3)).all()


def test_the_timeline_ends_when_the_recording_does() -> None:
    counted = OverTime(1, 0)
    counted.add(np.zeros(1, np.intp), np.array([1], np.uint64))
    assert counted.timeline(5_000_000).counts.tolist() == [[1, 0, 0, 0, 0]]
    assert counted.timeline(10**18).counts.shape == (1, COLUMNS)


def test_what_is_before_the_start_belongs_to_the_first_column() -> None:
    counted = OverTime(1, 10_000_000)
    counted.add(np.zeros(1, np.intp), np.array([1], np.uint64))
    assert counted.timeline().counts.tolist() == [[1]]


def test_handshakes_have_their_row_by_role_and_duration() -> None:
    counted = HandshakesOverTime(0)
    counted.add(events("handshake", 5, handshake_ns=1_000_000, time_ns=SECOND))
    counted.add(events("handshake", 2, role="server", handshake_ns=8_000_000, time_ns=SECOND))
    counted.add(events("handshake", 3, flags=("handshake_unknown",), time_ns=SECOND))
    client, server = (counted.timeline(ROLE[role], SECOND).counts for role in ("client", "server"))
    assert client.shape[0] == server.shape[0] == LATENCIES
    ((low,), (high,)) = client.sum(axis=1).nonzero()[0].tolist(), server.sum(axis=1).nonzero()[0].tolist()
    assert (client.sum(), server.sum()) == (5, 2)
    assert high - low == 6  # a factor of eight


def retransmissions(peer: str, segments: int) -> Events:
    return events("retransmit", peer=peer, segments=segments)


def test_peers_with_most_are_rows_and_the_others_are_the_rest() -> None:
    counted = RetransmissionsOverTime(0)
    counted.add(np.concatenate([retransmissions(f"192.0.2.{n}", n) for n in range(1, 8)]))
    counted.add(events("retransmit", flags=("failed",), segments=99))
    records, timeline = counted.largest(2, 0)
    assert records["remote_address"][:, 15].tolist() == [7, 6]
    assert timeline.counts.sum(axis=1).tolist() == [7, 6, 1 + 2 + 3 + 4 + 5]


def test_a_peer_with_many_is_found_among_more_peers_than_there_is_room_for() -> None:
    counted = RetransmissionsOverTime(0)
    for batch in range(20):
        few = [retransmissions(f"10.{batch}.{n // 200}.{n % 200}", 1) for n in range(PEERS)]
        counted.add(np.concatenate([*few, *[retransmissions("192.0.2.1", 2)] * 3]))
    records, timeline = counted.largest(1, 0)
    assert records["remote_address"][:, 12:].tolist() == [[192, 0, 2, 1]]
    assert timeline.counts.sum(axis=1).tolist() == [120, 20 * PEERS]
