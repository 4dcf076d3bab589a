"""Records of several readings are counted together, and none is left behind."""

from __future__ import annotations

import numpy as np

from tests.unit.model.builder import CONTEXT, SECOND, events, reading
from tracer.ingest.snapshot import Snapshot
from tracer.model.batch import ENOUGH, Batch
from tracer.model.summaryjson import summary_document
from tracer.model.totals import Model


def test_a_batch_has_all_records_in_their_order_and_is_empty_afterwards() -> None:
    batch = Batch()
    for port in (1, 2, 3):
        batch.add(events("handshake", port=port))
    assert batch.take()["remote_port"].tolist() == [1, 2, 3]
    assert not batch


def test_a_batch_is_full_when_more_records_would_gain_nothing() -> None:
    batch = Batch()
    batch.add(np.repeat(events("handshake"), ENOUGH - 1))
    assert not batch.is_full
    batch.add(events("handshake"))
    assert batch.is_full


def test_readings_one_by_one_and_together_give_the_same_report() -> None:
    parts = [
        events("handshake", handshake_ns=1000),
        np.concatenate([events("close", error=104, connection=7), events("reset", flags=("reset_sent",), connection=7)]),
        events("failure", from_state="syn_sent", error=111, port=9),
    ]
    single, whole = Model(CONTEXT), Model(CONTEXT)
    for part in parts:
        single.add(reading(part))
    whole.add(reading(*parts))
    assert summary_document(single.report()) == summary_document(whole.report())
    assert [row["reason"] for row in summary_document(whole.report())["closes"]] == ["reset_sent"]


def test_a_dump_is_held_against_counts_with_all_records_from_before_it() -> None:
    model = Model(CONTEXT)
    model.add(reading(events("handshake"), time_ns=SECOND))
    model.add(reading(time_ns=2 * SECOND, snapshot=Snapshot(time_ns=2 * SECOND, open=())))
    assert model.report().events.sum() == 1
