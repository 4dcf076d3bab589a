"""What held one connection up: of the end that sent, from the record of its end, or why it is not known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.model.builder import CONTEXT, events
from tracer.ingest.decode import Events
from tracer.ingest.source import Context
from tracer.kernel.fields import PACE
from tracer.model.dossier import ABROAD, NOT_TOLD, OPEN, Value, dossier

ROWS = ("time with data to send", "  limited by the receiver's window", "  limited by the send buffer")
ENDED = events("close", connection=1, busy_ms=900, window_limited_ms=300, buffer_limited_ms=20)
OTHER_END = events("close", connection=2, role="server", busy_ms=7)


def of_rows(own: Events, peer: Events, context: Context = CONTEXT) -> list[tuple[Value, Value]]:
    rows = {row.name: (row.forward, row.backward) for row in dossier(own, peer, context).rows}
    return [rows[name] for name in ROWS]


def test_both_ends_tell_what_they_have_sent() -> None:
    assert of_rows(ENDED, OTHER_END) == [(0.9, 0.007), (0.3, 0.0), (0.02, 0.0)]


@pytest.mark.parametrize(
    ("own", "context", "known"),
    [(ENDED, replace(CONTEXT, missing=(PACE,)), NOT_TOLD), (events("handshake", connection=1), CONTEXT, OPEN)],
)
def test_where_it_is_not_known_it_says_why(own: Events, context: Context, known: Value) -> None:
    assert of_rows(own, ENDED[:0], context) == [(known, ABROAD)] * 3
