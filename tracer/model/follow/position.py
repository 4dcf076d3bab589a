"""Where a connection stands: the sequence variables of a record as plain counts, from 1 for the first byte of either side.

On the wire numbers wrap at 2^32 and begin anywhere; here they are counted on from the record's 64-bit byte counts, so that a
gigabyte later nothing has wrapped. SYN and FIN take one number each: a side's SYN is 0, and its FIN follows its last byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tracer.model.tcp import STATE

NUMBERS = 1 << 32

UNKNOWN_IN = (STATE["close"], STATE["listen"], STATE["syn_sent"])


@dataclass(frozen=True)
class Position:
    """The first byte that the peer has not acknowledged, the next one to be sent, and the next one that is expected.

    None of them counts a FIN; fin: the number of ours, when it is sent. fin_acknowledged: it has been; peer_fin: the peer's is
    here. una, rcv: two of the record's own variables, as they are on the wire.
    """

    acked: int
    sent: int
    received: int
    fin: int
    fin_acknowledged: bool
    peer_fin: bool
    sent_segments: int
    received_segments: int
    una: int
    rcv: int

    def of_ours(self, number: int) -> int:
        """Return the count of a number in what we send."""
        return self.acked + (1 if self.fin_acknowledged else 0) + distance(number, self.una)

    def of_theirs(self, number: int) -> int:
        """Return the count of a number in what the peer sends."""
        return self.received + (1 if self.peer_fin else 0) + distance(number, self.rcv)


START = Position(1, 1, 1, 1, fin_acknowledged=False, peer_fin=False, sent_segments=0, received_segments=0, una=0, rcv=0)
"""Where every connection stands when its handshake is done."""


def distance(to: int, origin: int) -> int:
    """Return how far a number on the wire lies ahead of another one, below 0 behind it."""
    return (to - origin + NUMBERS // 2) % NUMBERS - NUMBERS // 2


def position(record: Any) -> Position | None:
    """Return where a record's connection stands; None for one that does not say so, such as those before the peer's SYN."""
    if record.from_state in UNKNOWN_IN or not (record.send_unacknowledged or record.send_next or record.receive_next):
        return None
    fin = 1 + record.sent_bytes
    acked = fin - record.unacknowledged_bytes
    flight = distance(record.send_next, record.send_unacknowledged)
    fin_number = record.initial_sequence + fin
    return Position(
        acked=acked,
        sent=min(fin, acked + max(flight, 0)),
        received=1 + record.received_bytes,
        fin=fin,
        fin_acknowledged=distance(record.send_unacknowledged, fin_number) == 1,
        peer_fin=distance(record.receive_next, record.peer_initial_sequence + 1 + record.received_bytes) == 1,
        sent_segments=record.sent_data_segments,
        received_segments=record.received_data_segments,
        una=record.send_unacknowledged,
        rcv=record.receive_next,
    )
