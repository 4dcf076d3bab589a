"""Where a connection stands, as fields of an event: what follow asks for beside the others.

Numbers that the kernel has not yet are zeros in the records (bpf/follow.h says when), and None here.
"""

from __future__ import annotations

import numpy as np

from tracer.model.follow.pace import NO_THRESHOLD
from tracer.model.tcp import STATE
from tracer.outputs.onekind import FieldValues, Mask, OneKind, without

POSITION = ("send_unacknowledged", "send_next", "receive_next", "sent_data_segments", "received_data_segments")
WINDOWS = ("congestion_window", "slow_start_threshold", "send_window", "receive_window")
BYTES = ("sent_bytes", "received_bytes", "unacknowledged_bytes")
_OF_THE_PEER = ("peer_initial_sequence", "receive_next", "send_window")


def _no_position(batch: OneKind) -> Mask:
    """Return which records are of no connection, or of one that is only begun: the kernel has no numbers for it yet."""
    none: Mask = ~np.logical_or.reduce([batch.column(name) != 0 for name in POSITION[:3]])
    return none


def _not_heard(batch: OneKind) -> Mask:
    """Return which records are from before the peer's SYN."""
    early: Mask = (batch.column("from_state") == STATE["syn_sent"]) & (batch.column("to_state") != STATE["established"])
    return early


def threshold(batch: OneKind) -> list[int | None]:
    """Return the slow start thresholds; None is none, too."""
    column = batch.column("slow_start_threshold")
    return without(column, _no_position(batch) | (column >= NO_THRESHOLD))


def position(name: str) -> FieldValues:
    """Return a column of what follow asks for."""
    theirs = name in _OF_THE_PEER
    return lambda batch: without(batch.column(name), _no_position(batch) | (_not_heard(batch) if theirs else False))


def payload(name: str) -> FieldValues:
    """Return a column of payload, which the record of an end has in any case."""
    return lambda batch: batch.column(name).tolist() if batch.kind == "close" else position(name)(batch)


def initial(name: str) -> FieldValues:
    """Return the column of an initial sequence number; two zeros are a connection whose handshake was not seen."""

    def column(batch: OneKind) -> list[int | None]:
        unseen = (batch.column("initial_sequence") == 0) & (batch.column("peer_initial_sequence") == 0)
        return without(batch.column(name), unseen | _not_heard(batch) if name in _OF_THE_PEER else unseen)

    return column
