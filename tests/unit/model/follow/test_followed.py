"""Which connection a record belongs to, and that what is kept of them is bounded."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tests.unit.model.builder import SECOND, events
from tests.unit.script import Left, play
from tracer.ingest.decode import EVENT, Events
from tracer.model.follow.followed import MAX_ENDED, MAX_REQUESTS, Followed
from tracer.model.follow.pace import LIMIT, MEASURES, Samples
from tracer.model.follow.steps import Step
from tracer.model.tcp import KINDS, STATE

CLIENT = "c = client 10.0.0.1:40312 > 10.0.0.2:443 curl/331 fd=5 isn=1000 peer=5000\n"


def batch(script: str) -> Events:
    return np.concatenate([item for item in play(script) if not isinstance(item, Left)])


def kinds(steps: list[Step]) -> list[str]:
    return [step.kind for step in steps]


def attempts(count: int, first: int = 1) -> Events:
    """Return so many refused attempts, each of two records."""
    begin = events("state", count, from_state="close", to_state=STATE["syn_sent"])
    end = events("failure", count, from_state="syn_sent", error=111, send_next=1001, initial_sequence=1000)
    for records in (begin, end):
        records["connection"] = np.arange(first, first + count)
    return np.concatenate([begin, end])


def test_connections_are_numbered_in_the_order_of_their_beginning() -> None:
    steps = Followed({}).add(attempts(23))
    assert [step.who.number for step in steps if step.kind == "opened"] == list(range(1, 24))


def test_ended_connections_are_counted() -> None:
    followed = Followed({})
    followed.add(attempts(23))
    assert followed.ended == 23


def test_more_than_may_be_open_are_passed_over_and_counted() -> None:
    followed = Followed({}, limit=10)
    steps = followed.add(attempts(23))
    assert kinds(steps).count("opened") == 10
    assert followed.passed_over == 13


def test_room_is_made_by_the_end_of_others() -> None:
    followed = Followed({}, limit=10)
    for first in range(1, 1000, 10):
        assert kinds(followed.add(attempts(10, first))).count("failed") == 10
    assert followed.passed_over == 0


def sizes(followed: Followed) -> dict[str, int]:
    return {name: len(value) for name, value in vars(followed).items() if hasattr(value, "__len__")}


def test_nothing_grows_without_end() -> None:
    followed = Followed({}, segments=True)
    for first in range(1, 3000, 100):
        followed.add(attempts(100, first))
        requests = events("retransmit", 100, role="server", retransmit_kind="syn_ack", from_state="syn_recv")
        requests["remote_port"] = np.arange(first, first + 100)
        followed.add(requests)
    grown = sizes(followed)
    assert grown["_open"] == grown["_samples"] == 0
    assert grown["_ended"] <= MAX_ENDED
    assert grown["_requests"] <= MAX_REQUESTS


def test_a_request_becomes_the_connection_that_it_asked_for() -> None:
    script = """s = server 10.0.0.2:443 < 10.0.0.1:40312 nginx/80 isn=5000 peer=1000
    +1.0  s  request 1
    +1.1  s  state listen>syn_recv
    +1.1  s  state syn_recv>established
    +1.1  s  handshake 1.1
    """
    steps = Followed({}).add(batch(script))
    assert {step.who.number for step in steps} == {1}
    assert kinds(steps) == ["half_open", "retransmission", "accepted", "syn_received", "syn_ack_sent", "ack_received"]


@pytest.mark.parametrize("sample", [0.1, 0.105], ids=["as traced", "a slow machine"])
def test_a_round_trip_from_a_later_syn_ack_does_not_make_a_second_first_one(sample: float) -> None:
    script = f"""s = server 10.0.0.2:443 < 10.0.0.1:40312 nginx/80 isn=5000 peer=1000
    +1.0  s  request 1
    +1.1  s  state listen>syn_recv
    +1.1  s  state syn_recv>established
    +1.1  s  handshake {sample}
    """
    assert "syn_ack_sent" not in kinds(Followed({}).add(batch(script)))


def test_a_request_in_another_namespace_is_another_one() -> None:
    request = events("retransmit", 2, role="server", retransmit_kind="syn_ack", from_state="syn_recv", netns=[1, 2])
    assert kinds(Followed({}).add(request)).count("half_open") == 2


def test_what_is_told_does_not_depend_on_how_records_come_in_batches() -> None:
    script = (
        CLIENT
        + """
    +0.00  c  state close>syn_sent
    +1.00  c  retransmit syn 1
    +1.04  c  state syn_sent>established
    +1.04  c  handshake 1.04
    +1.05  c  call send 700    sent=700 unacked=700 out=1
    +1.06  c  state established>fin_wait1
    +1.10  c  state fin_wait1>fin_wait2  unacked=0 fin=acked
    +1.11  c  state fin_wait2>close      peerfin=1
    +1.11  c  close fin_wait2
    """
    )
    whole = batch(script)
    together, one_by_one = Followed({}), Followed({})
    assert together.add(whole) == list(
        itertools.chain.from_iterable(one_by_one.add(whole[at : at + 1]) for at in range(len(whole)))
    )


def test_the_last_call_after_the_end_belongs_to_its_connection() -> None:
    script = (
        CLIENT
        + """
    +0.00  c  state close>syn_sent
    +0.01  c  failure syn_sent 111
    +0.02  c  call send -32 close
    """
    )
    steps = Followed({}).add(batch(script))
    assert (steps[-1].kind, steps[-1].who.number) == ("call", 1)


def test_a_call_of_a_connection_that_nobody_remembers_begins_no_new_one() -> None:
    assert Followed({}).add(batch(CLIENT + "+0.02  c  call send -32 close")) == []


def test_a_dump_says_nothing_of_a_connection_that_nobody_remembers() -> None:
    assert Followed({}).time_wait(99, "time_wait", 60, 0) == []


def test_the_peers_fin_is_told_once() -> None:
    script = (
        CLIENT
        + """
    +0.00  c  state close>syn_sent
    +0.01  c  state syn_sent>established
    +0.01  c  handshake 0.01
    +0.02  c  state established>fin_wait1
    +0.03  c  state fin_wait1>fin_wait2  fin=acked
    +0.03  c  state fin_wait2>close
    +0.03  c  close fin_wait2
    """
    )
    followed = Followed({})
    followed.add(batch(script))
    times = itertools.count(1001 * SECOND, SECOND)
    assert kinds(followed.time_wait(1, "fin_wait2", 60, next(times))) == ["fin_awaited"]
    assert kinds(followed.time_wait(1, "time_wait", 60, next(times))) == ["fin_received", "time_wait"]
    assert kinds(followed.time_wait(1, "time_wait", 59, next(times))) == ["time_wait"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(range(len(KINDS) + 1)),
            st.integers(0, 4),
            st.integers(0, 15),
            st.integers(0, 15),
            st.integers(0, 255),
            st.integers(0, 2**32 - 1),
        ),
        max_size=30,
    )
)
def test_no_order_of_records_breaks_the_telling(rows: list[tuple[int, ...]]) -> None:
    records = np.zeros(len(rows), EVENT)
    for record, (kind, connection, left, entered, byte, number) in zip(records, rows, strict=True):
        record["kind"], record["connection"], record["from_state"], record["to_state"] = kind, connection, left, entered
        for name in ("flags", "retransmit_kind", "call", "control_bits", "role", "attempt"):
            record[name] = byte
        for name in ("send_next", "send_unacknowledged", "receive_next", "sequence", "sent_bytes", "initial_sequence"):
            record[name] = number
    Followed({}, segments=True, limit=3).add(records)


def test_samples_stay_few_and_spread_over_the_whole_life() -> None:
    samples = Samples()
    for number in range(100_000):
        samples.add(dict.fromkeys(MEASURES, number))
    values = samples.series()["congestion_window"]
    assert LIMIT / 2 <= len(values) < LIMIT
    assert (values[0], values[-1] > 99_000) == (0, True)
    assert len(set(np.diff(values))) == 1


def test_a_measure_that_was_never_known_has_no_series() -> None:
    samples = Samples()
    samples.add({**dict.fromkeys(MEASURES, 1), "slow_start_threshold": None})
    assert "slow_start_threshold" not in samples.series()
