from __future__ import annotations

import pytest

from tests.unit.model.builder import CONTEXT, SECOND, events, reading
from tracer.ingest.decode import Events
from tracer.model.totals import Model
from tracer.model.waiting import LIMIT


def lost(port: int = 443, n: int = 1, kind: str = "syn", **columns: object) -> Events:
    return events("retransmit", n, port=port, retransmit_kind=kind, from_state="syn_sent", segments=1, **columns)  # type: ignore[arg-type]


def model(*labels: str) -> Model:
    return Model(CONTEXT, labels=labels, start_ns=0)


def resent(model: Model) -> dict[tuple[str, ...], int]:
    """Return the retransmitted segments by label set, zeros left out."""
    series = model.report().series
    return {labels: int(row.sum()) for labels, row in zip(series.labels, series.retransmitted, strict=True) if row.any()}


@pytest.mark.parametrize("labels", [(), ("peer", "process")])
def test_what_a_services_first_connection_lost_is_in_its_own_series(labels: tuple[str, ...]) -> None:
    counted = model(*labels)
    counted.add(reading(lost(), time_ns=SECOND))
    counted.add(reading(lost(), time_ns=3 * SECOND))
    assert resent(counted) == {}
    counted.add(reading(events("handshake"), time_ns=3 * SECOND + 1))
    (row,) = resent(counted)
    assert (row[:2], resent(counted)[row]) == (("client", "443"), 2)


def test_without_a_handshake_it_is_in_other_three_seconds_later() -> None:
    counted = model()
    counted.add(reading(lost(), time_ns=SECOND))
    counted.add(reading(lost(), time_ns=3 * SECOND))
    counted.add(reading(time_ns=4 * SECOND))
    assert resent(counted) == {("client", "other"): 1}
    counted.add(reading(events("handshake"), time_ns=5 * SECOND))
    assert resent(counted) == {("client", "other"): 1, ("client", "443"): 1}


def test_at_the_end_nothing_waits() -> None:
    counted = model()
    counted.add(reading(lost(n=3), time_ns=SECOND))
    counted.finish()
    assert resent(counted) == {("client", "other"): 3}


def test_so_many_wait_and_more_are_counted_at_once() -> None:
    counted = model()
    counted.add(reading(*(lost(port) for port in range(1, LIMIT + 8)), time_ns=SECOND))
    assert resent(counted) == {("client", "other"): 7}
    counted.add(reading(time_ns=4 * SECOND))
    assert resent(counted) == {("client", "other"): LIMIT + 7}


def test_of_a_known_service_it_is_counted_at_once_and_so_are_other_kinds() -> None:
    counted = model()
    counted.add(reading(events("handshake"), lost(), lost(80, kind="fast"), time_ns=SECOND))
    assert resent(counted) == {("client", "443"): 1, ("client", "80"): 1}
