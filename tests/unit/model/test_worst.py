"""Which connections are drawn, and which records are theirs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tests.unit.addresses import column
from tests.unit.model.builder import CONTEXT, events, reading
from tracer.ingest.decode import Events
from tracer.model.findings import SHOWN, FindingsSearch
from tracer.model.worst import DRAWN, Gathered, worst


def chosen(*batches: Events) -> Events:
    search = FindingsSearch(CONTEXT, start_ns=0)
    for batch in batches:
        search.add(reading(batch))
    return worst(search.findings())


def ends(number: int, port: int, time_ns: int = 5) -> tuple[Events, Events]:
    """Return the closes of both ends of a connection within the machine."""
    columns = dict.fromkeys(("retransmitted_segments", "duration_ns", "sent_bytes"), number)
    client = events("close", connection=number, local_port=port, local_address=address(1), time_ns=time_ns)
    server = events("close", role="server", connection=number + 1000, time_ns=time_ns)
    for end in (client, server):
        for name, value in columns.items():
            end[name] = value
    server["remote_port"], server["remote_address"] = port, address(1)
    server["local_address"], client["remote_address"] = address(2), address(2)
    return client, server


def address(last: int) -> NDArray[np.uint8]:
    return column(f"10.0.0.{last}")


def test_both_ends_of_a_connection_are_chosen_once_and_the_most_retransmitting_first() -> None:
    every = [end for n in range(1, 20) for end in ends(n, 40_000 + n)]
    picked = chosen(*every)
    assert len(picked) == SHOWN // 2 < DRAWN
    assert sorted(set(picked["local_port"].tolist() + picked["remote_port"].tolist()) - {443}) == list(range(40_015, 40_020))
    assert picked["retransmitted_segments"].tolist() == list(range(19, 14, -1))


def test_the_largest_and_the_longest_have_their_place_beside_those_that_retransmit() -> None:
    lossy = [events("close", connection=n, local_port=n, retransmitted_segments=n) for n in range(1, 20)]
    large, long = (
        events("close", connection=50, local_port=50, sent_bytes=1 << 40),
        events("close", connection=60, local_port=60, duration_ns=1 << 50),
    )
    assert {50, 60} < set(chosen(*lossy, large, long)["connection"].tolist())


def test_what_has_no_number_cannot_be_found_again() -> None:
    assert not len(chosen(events("close", retransmitted_segments=1)))


def test_the_records_of_both_ends_are_gathered_and_of_nobody_else() -> None:
    client, server = ends(1, 40_001)
    other, reused = ends(2, 40_002)[0], ends(3, 40_001, time_ns=1 << 40)[0]
    gathered = Gathered(client)
    for batch in (client, other, server, reused):
        gathered.add(batch)
    assert gathered.records(0)["connection"].tolist() == [1, 1001]
    assert gathered.cut == [False]
