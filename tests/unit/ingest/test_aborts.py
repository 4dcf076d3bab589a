"""Ends that a late reset explains."""

from __future__ import annotations

import errno

import numpy as np
import pytest

from tests.unit.model.builder import events, report_of
from tracer.ingest.aborts import settle, settle_columns
from tracer.ingest.decode import Events
from tracer.ingest.transposed import Transposed
from tracer.model.tcp import CLOSE_REASONS, FLAG, KIND, STATE

RECEIVED = ("reset_received",)


def data_after_close(connection: int) -> Events:
    """What the programs send when data come after close(): reset received (so it seems), the end, the reset sent."""
    return np.concatenate(
        [
            events("reset", flags=RECEIVED, from_state="fin_wait1", to_state=STATE["fin_wait1"], connection=connection),
            events("close", flags=RECEIVED, from_state="fin_wait1", error=104, connection=connection),
            events(
                "reset", flags=("reset_sent", "reset_reason"), from_state="fin_wait1", connection=connection, reset_reason=15
            ),
        ]
    )


def abort(connection: int, state: str, **columns: object) -> Events:
    """What the programs send at an abort: the end, then the reset."""
    return np.concatenate(
        [
            events("close", flags=("unexplained",), from_state=state, connection=connection, **columns),  # type: ignore[arg-type]
            events("reset", flags=("reset_sent", "reset_reason"), from_state=state, connection=connection, reset_reason=9),
        ]
    )


def reset_by_peer(connection: int) -> Events:
    return np.concatenate(
        [
            events("reset", flags=RECEIVED, to_state=STATE["established"], connection=connection),
            events("close", flags=RECEIVED, error=104, connection=connection),
        ]
    )


def test_an_end_by_data_after_close_was_our_reset_and_none_was_received() -> None:
    settled = settle(np.concatenate([data_after_close(7), reset_by_peer(8)]))
    report = report_of(settled)
    closes = dict(zip(CLOSE_REASONS, report.series.closes.sum(axis=0).tolist(), strict=True))
    assert closes["reset_sent"] == closes["reset_received"] == 1
    assert report.series.resets_received.sum() == 1
    assert report.series.resets_sent.sum() == 1


def test_the_end_takes_the_kernels_reason_from_its_own_reset() -> None:
    settled = settle(np.concatenate([data_after_close(9), data_after_close(3)]))
    ends = settled[settled["kind"] == KIND["close"]]
    assert ends["connection"].tolist() == [9, 3]
    assert ends["reset_reason"].tolist() == [15, 15]
    assert not (ends["flags"] & FLAG["reset_received"]).any()


@pytest.mark.parametrize("state", ["established", "close_wait", "fin_wait1", "fin_wait2", "closing", "last_ack"])
def test_an_end_is_reset_by_this_side_when_its_reset_follows_in_any_state(state: str) -> None:
    report = report_of(settle(abort(7, state)))
    assert dict(zip(CLOSE_REASONS, report.series.closes.sum(axis=0).tolist(), strict=True))["reset_sent"] == 1
    assert report.series.time_waits.sum() == 0


def test_an_error_that_is_older_than_the_abort_is_not_its_own() -> None:
    settled = settle(abort(7, "fin_wait1", error=errno.EHOSTUNREACH))
    assert settled["error"].tolist() == [0, 0]
    assert not (settled["flags"] & FLAG["unexplained"]).any()


def test_a_batch_without_such_an_end_is_given_back_itself() -> None:
    batch = reset_by_peer(8)
    assert settle(batch) is batch


def test_the_batch_that_was_read_is_not_changed() -> None:
    batch = data_after_close(7)
    before = batch.tobytes()
    settle(batch)
    assert batch.tobytes() == before


def test_records_by_columns_are_settled_as_records_are() -> None:
    batches = (data_after_close(7), reset_by_peer(8), abort(9, "established", error=104), events("handshake", 3))
    records = np.concatenate([*batches, abort(0, "close_wait"), data_after_close(9), events("failure", connection=9)])
    for some in (records, records[:3], records[3:5]):
        columns = settle_columns(Transposed.of([some]))
        assert columns[:].tobytes() == settle(some).tobytes()
        assert columns["flags"].tolist() == settle(some)["flags"].tolist()
