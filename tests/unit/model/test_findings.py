"""What stands out in a report: the largest by a measure, whatever the batches."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.model.builder import CONTEXT, events, reading
from tracer.model.findings import SHOWN, FindingsSearch, Largest


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_the_largest_are_the_same_in_batches_of_any_size(batch: int) -> None:
    closes = events("close", 1000)
    closes["sent_bytes"] = np.random.default_rng(5).integers(0, 300, 1000)
    kept = Largest(lambda records: records["sent_bytes"])
    for first in range(0, 1000, batch):
        kept.add(closes[first : first + batch])
    assert kept.records["sent_bytes"].tolist() == sorted(closes["sent_bytes"].tolist(), reverse=True)[:SHOWN]


def test_what_has_nothing_of_a_measure_does_not_stand_out() -> None:
    kept = Largest(lambda records: records["retransmitted_segments"])
    kept.add(events("close", 3))
    assert not len(kept.records)


def test_a_connection_whose_beginning_was_not_seen_is_not_among_the_longest() -> None:
    search = FindingsSearch(CONTEXT)
    search.add(reading(events("close", flags=("partial",), duration_ns=9), events("close", duration_ns=5)))
    assert search.findings().longest["duration_ns"].tolist() == [5]


def test_peers_are_sorted_by_what_is_wrong_with_all_their_services_together() -> None:
    search = FindingsSearch(CONTEXT)
    search.add(
        reading(
            events("handshake", 5, peer="192.0.2.1"),
            events("handshake", peer="192.0.2.2", port=80),
            events("close", from_state="established", error=110, peer="192.0.2.2", port=80),
            events("handshake", peer="192.0.2.2"),
        )
    )
    peers = search.findings().peers
    assert [(peer, service.handshakes, service.closed) for peer, service in peers] == [("192.0.2.2", 2, 1), ("192.0.2.1", 5, 0)]
