"""Ends and the resets that explain them, when a look at the ring falls between the two."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.model.builder import events
from tracer.ingest.clock import kernel_ns
from tracer.ingest.decode import Events
from tracer.ingest.late import Explained, unexplained
from tracer.ingest.transposed import together
from tracer.model.tcp import KIND, STATE

OLD = 1_000_000_000


def end(connection: int, time_ns: int = OLD) -> Events:
    return events("close", flags=("unexplained",), from_state="fin_wait1", connection=connection, time_ns=time_ns)


def reset(connection: int, time_ns: int = OLD) -> Events:
    return events("reset", flags=("reset_sent",), from_state="fin_wait1", connection=connection, time_ns=time_ns)


def other(connection: int, time_ns: int = OLD) -> Events:
    return events("handshake", connection=connection, to_state=STATE["established"], time_ns=time_ns)


NOW = kernel_ns()


class Looks:
    """A ring to which one batch comes with each look; explained: its records, as they are read."""

    def __init__(self, *batches: Events) -> None:
        self._batches = list(batches)
        self._there: list[Events] = [other(0)[:0]]
        self.count = 0
        self.explained = Explained(self, together)

    def look(self) -> list[Events]:
        self.count += 1
        self._there += self._batches[:1]
        del self._batches[:1]
        return self._there

    def let_go(self, records: int) -> None:
        self._there = [together(self._there)[records:]]


@pytest.fixture(autouse=True)
def fixture_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the clock stand still, so that what has just come is no older on a slow machine."""
    monkeypatch.setattr("tracer.ingest.late.kernel_ns", lambda: NOW)


def numbers(batch: Events) -> list[int]:
    found: list[int] = batch["connection"].tolist()
    return found


def test_an_end_whose_reset_is_not_there_yet_is_read_together_with_it() -> None:
    now = NOW
    ring = Looks(np.concatenate([other(1), end(2, now)]), reset(2, now + 1))
    batch = ring.explained.read()
    assert numbers(batch) == [1, 2, 2]
    assert batch["kind"].tolist() == [KIND["handshake"], KIND["close"], KIND["reset"]]


def test_an_end_that_no_reset_explains_waits_no_longer_than_a_millisecond() -> None:
    ring = Looks(np.concatenate([end(2, NOW), other(3)]))
    assert numbers(ring.explained.read()) == [2, 3]
    assert ring.count == 2


def test_an_old_end_and_one_with_its_reset_wait_for_nothing() -> None:
    now = NOW
    ring = Looks(np.concatenate([end(1), end(2, now), reset(2, now + 1)]))
    assert numbers(ring.explained.read()) == [1, 2, 2]
    assert ring.count == 1


def test_what_came_while_waiting_and_is_not_explained_stays_with_all_behind_it_for_the_next_reading() -> None:
    later = NOW + 3600 * OLD
    ring = Looks(end(1, NOW), np.concatenate([other(2), end(3, later), other(4)]), reset(3, later))
    records = ring.explained
    assert numbers(records.read()) == [1, 2]
    assert numbers(records.read()) == [3, 4, 3]


def test_no_end_no_wait() -> None:
    ring = Looks(other(1))
    assert numbers(ring.explained.read()) == [1]
    assert ring.count == 1


def test_a_reset_that_only_seems_to_have_been_received_is_read_together_with_its_end() -> None:
    seeming = events("reset", flags=("reset_received", "unexplained"), from_state="fin_wait2", connection=2, time_ns=NOW)
    seeming["to_state"] = STATE["fin_wait2"]
    ring = Looks(seeming, np.concatenate([end(2, NOW + 1), reset(2, NOW + 2)]))
    assert ring.explained.read()["kind"].tolist() == [KIND["reset"], KIND["close"], KIND["reset"]]


def test_an_end_is_unexplained_until_the_reset_of_its_own_connection_is_there() -> None:
    batch = np.concatenate([end(1), end(2), reset(2), end(3), reset(4)])
    assert numbers(batch[unexplained(batch)]) == [1, 3]
