"""What a record costs in user space, from the ring's bytes to the model's counts.

The ring is synthetic, so that neither kernel nor load blur the figure: the ordinary mix of a client's and a server's handshakes
and closes, as `run` gets them, in batches as a timer of 20 ms finds them.
"""

from __future__ import annotations

import time
from dataclasses import replace
from statistics import median

import numpy as np
from numpy.typing import NDArray

from tests.bench.tables import show
from tests.unit.model.builder import CONTEXT, beginnings, events, reading
from tracer.ingest.decode import BEGINNING, Events
from tracer.ingest.ring import HEADER, find
from tracer.ingest.snapshot import Snapshot
from tracer.ingest.transposed import Transposed
from tracer.model.totals import Model

RECORDS = 40_000
STATES = {"syn_sent": 33_000, "established": 5_000_000, "fin_wait1": 20_000, "fin_wait2": 30_000}


def traffic(count: int) -> Events:
    """Return records of both sides of connections, in the order in which they end and with times that vary."""
    rng = np.random.default_rng(23)
    kinds = [
        events("handshake", role="server", port=8080, handshake_ns=33_000),
        events("handshake", handshake_ns=1_000_000, port=8080),
        events("close", from_state="fin_wait2", state_ns=STATES, srtt_us=40, duration_ns=5_083_000, sent_bytes=1000, port=8080),
        events("close", role="server", port=8080, state_ns=STATES, srtt_us=40, duration_ns=5_000_000, received_bytes=1000),
    ]
    batch = np.tile(np.concatenate(kinds), count // len(kinds))
    for column in ("handshake_ns", "duration_ns"):
        batch[column] = (batch[column] * rng.uniform(0.5, 2, len(batch))).astype(np.uint64)
    return batch


def ring_of(records: Events) -> NDArray[np.uint8]:
    """Return the data area of a ring that holds records from its beginning; its size is a power of two."""
    size = records.dtype.itemsize
    data = np.zeros(1 << (len(records) * (size + HEADER) - 1).bit_length(), np.uint8)
    rows = data[: len(records) * (size + HEADER)].reshape(len(records), size + HEADER)
    rows[:, :4] = np.array([size], "<u4").view(np.uint8)
    rows[:, HEADER:] = records.view(np.uint8).reshape(len(records), size)
    return data


def record_ns(data: NDArray[np.uint8], batch: int) -> tuple[float, float]:
    """Return nanoseconds of CPU per record, of taking them from the ring and of adding them to a model."""
    stride = BEGINNING.itemsize + HEADER
    model = Model(CONTEXT)
    model.add(reading(snapshot=Snapshot(time_ns=1, namespaces=(0,))))  # whose sockets are listed, as those of nearly all are
    taking = adding = 0
    for first in range(0, RECORDS, batch):
        begin = time.thread_time_ns()
        found = find(data, first * stride, min(first + batch, RECORDS) * stride, BEGINNING)
        columns = Transposed.of(found.runs)
        taking += time.thread_time_ns() - begin
        new = replace(reading(), columns=columns)
        begin = time.thread_time_ns()
        model.add(new)
        adding += time.thread_time_ns() - begin
    assert int(model.report().events.sum()) == RECORDS
    return taking / RECORDS, adding / RECORDS


def decode(rounds: int) -> None:
    """Print it for several sizes of batches."""
    data = ring_of(beginnings(traffic(RECORDS)))
    rows = []
    for batch in (10, 100, 2_000, 20_000):
        taken = [record_ns(data, batch) for _ in range(rounds)]
        take_ns, add_ns = median(t for t, _ in taken), median(a for _, a in taken)
        rows.append([f"{batch:,}", f"{take_ns:,.0f}", f"{add_ns:,.0f}", f"{take_ns + add_ns:,.0f}"])
    head = ["records at a time", "ring to columns", "columns to model", "together"]
    show("Decode: nanoseconds of CPU per record", head, rows)
