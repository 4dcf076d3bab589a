"""Records are sorted by what decides how they are counted, and by nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tests.unit.model.builder import events
from tracer.ingest.decode import Events
from tracer.ingest.transposed import Transposed
from tracer.model.alike import Alike, grouped
from tracer.model.tcp import KIND


def sorts(*batches: Events) -> Alike:
    return Alike.among(Transposed.of([np.concatenate(batches)]))


@pytest.mark.parametrize(
    "other",
    [
        {"kind": "retransmit"},
        {"role": "server"},
        {"port": 80},
        {"netns": 7},
        {"error": 104},
        {"error": -104},
        {"flags": ("time_wait",)},
        {"from_state": "last_ack"},
        {"to_state": 1},
        {"visited": 4},
        {"retransmit_kind": "fast"},
        {"connection": 9},
    ],
    ids=str,
)
def test_what_decides_makes_another_sort(other: dict[str, object]) -> None:
    one, two = {"kind": "close", "connection": 0}, {"kind": "close", "connection": 0} | other
    found = sorts(events(**one), events(**two), events(**one))  # type: ignore[arg-type]
    assert found.numbers.tolist() == [2, 1]
    assert found.part.index.tolist() == [0, 2, 1]


@pytest.mark.parametrize("role", ["client", "server", "unknown"])
def test_times_amounts_and_the_port_of_the_client_do_not(role: str) -> None:
    its = "remote_port" if role == "server" else "local_port"
    records = events("close", 23, role=role, port=443)
    records[its], records["local_port" if role == "server" else "remote_port"] = 50_000 + np.arange(23), 443
    records["time_ns"], records["sent_bytes"], records["connection"] = np.arange(23), np.arange(23), np.arange(1, 24)
    assert sorts(records).numbers.tolist() == [23]


def test_what_is_taken_of_the_sorts_are_their_records() -> None:
    found = sorts(events("close", 2), events("handshake", 3), events("close", 2, port=80))
    closes = found.where(found.examples["kind"] == KIND["close"])
    assert closes.numbers.tolist() == [2, 2]
    assert closes.starts.tolist() == [0, 2]
    assert closes.part["remote_port"].tolist() == [443, 443, 80, 80]
    assert closes.spread(np.array([7, 9])).tolist() == [7, 7, 9, 9]
    assert closes.places(np.array([False, True])).tolist() == [5, 6]


def test_the_sorts_of_each_kind_are_side_by_side() -> None:
    found = sorts(events("close", 2), events("handshake", 3), events("close", 2, port=80), events("handshake", role="server"))
    assert [(kind, its.numbers.tolist(), its.part.index.tolist()) for kind, its in found.by_kind()] == [
        (KIND["handshake"], [3, 1], [2, 3, 4, 7]),
        (KIND["close"], [2, 2], [0, 1, 5, 6]),
    ]
    assert not list(found.where(np.zeros(4, bool)).by_kind())


def test_a_flag_that_no_record_has_leaves_them_as_they_are() -> None:
    found = sorts(events("close", 2, flags=("partial",)), events("close", flags=("time_wait",)))
    assert found.without("gap") is found
    assert found.without("partial").part.index.tolist() == [2]
    assert not len(found.where(np.zeros(2, bool)).without("partial").part)


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 50), max_size=50))
def test_equal_numbers_are_one_group(keys: list[int]) -> None:
    of, first = grouped(np.array(keys, np.uint64))
    assert [keys[at] for at in first[of].tolist()] == keys
    assert len(first) == len(set(keys))


def test_groups_are_found_where_there_are_more_than_places_for_them() -> None:
    keys = np.arange(20_000, dtype=np.uint64).repeat(2)
    of, first = grouped(keys)
    assert len(first) == 20_000
    assert (keys[first][of] == keys).all()
    assert (first % 2 == 0).all(), "the first one of each"
