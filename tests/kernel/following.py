"""The records that `follow` is drawn from, read in this process from programs loaded for a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from tests.kernel.until import until
from tracer.ingest.decode import Events
from tracer.ingest.livesource import LiveSource
from tracer.kernel.filters import Filters
from tracer.kernel.launch import load_programs
from tracer.kernel.settings import Settings
from tracer.model.tcp import CALLS, FLAG, KIND, ROLE, STATE

Record = np.void

POSITIONS = (
    *("send_unacknowledged", "send_next", "receive_next", "send_window", "receive_window", "congestion_window"),
    *("slow_start_threshold", "sent_data_segments", "received_data_segments", "acknowledgement", "payload_bytes"),
)
"""Columns that only `follow` fills."""


class Following:
    """Programs that run."""

    def __init__(self, source: LiveSource) -> None:
        self.source = source
        self._batches: list[Events] = []

    @property
    def records(self) -> Events:
        """All that have come so far, in their order."""
        reading = self.source.read()
        assert reading is not None
        self._batches.append(reading.records)
        return np.concatenate(self._batches)

    def of(self, client_port: int, kind: str = "", role: str = "", **fields: int) -> list[Record]:
        """Return the records of a connection, whose client has this port, that have these fields."""
        ports = {ROLE["client"]: "local_port", ROLE["server"]: "remote_port"}
        return [
            record
            for record in self.records
            if record[ports[record["role"]]] == client_port
            and (not kind or record["kind"] == KIND[kind])
            and (not role or record["role"] == ROLE[role])
            and all(record[name] == value for name, value in fields.items())
        ]

    def first(self, client_port: int, kind: str, role: str, **fields: int) -> Record:
        """Wait for such a record, and return the first."""
        return until(lambda: self.of(client_port, kind, role, **fields), f"{role}'s {kind} {fields or ''} is told")[0]

    def step(self, client_port: int, role: str, before: str, after: str) -> Record:
        """Wait for a change of state on one side, and return it. (A client has no port yet when it begins.)"""
        return self.first(client_port, "state", role, from_state=STATE[before], to_state=STATE[after])

    def call(self, client_port: int, role: str, call: str, result: int) -> Record:
        """Wait for a call with this result, and return it."""
        return self.first(client_port, "call", role, call=CALLS.index(call), error=result)


@contextmanager
def following(port: int, *, follow: bool = True, segments: bool = False) -> Iterator[Following]:
    """Yield programs that see one service's connections, in every namespace."""
    source = LiveSource(load_programs(Settings(Filters(ports=(port,)), follow=follow, segments=segments)))
    try:
        yield Following(source)
    finally:
        source.close()


def is_partial(record: Record) -> bool:
    """Whether a record is of a connection that is existing: it began before the programs were attached."""
    return bool(record["flags"] & FLAG["partial"])
