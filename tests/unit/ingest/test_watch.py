from __future__ import annotations

from hypothesis import given, strategies as st

from tracer.ingest.watch import INTERVAL_SECONDS, SHARE, pause_seconds


@given(st.floats(0, 60), st.floats(1, 4))
def test_snapshots_never_take_more_than_their_share_of_a_core(cpu: float, waiting: float) -> None:
    spent = cpu * waiting
    assert cpu / (spent + pause_seconds(spent, cpu)) <= SHARE * 1.0001


def test_quick_snapshots_come_once_a_second() -> None:
    assert 0.01 + pause_seconds(0.01, 0.01) == INTERVAL_SECONDS
    assert pause_seconds(30.0, 0.01) > 0
