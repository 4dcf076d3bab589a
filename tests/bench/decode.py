"""What a record costs in user space, from the ring's bytes to the model's counts.

The ring is synthetic, so that neither kernel nor load blur the figure: the ordinary mix of a client's and a server's handshakes
and closes, as `run` gets them, in batches as a timer of 20 ms finds them. With labels there are 64 peers, of 8 processes and 16
cgroups in two network namespaces, and records are whole where a label asks for the owner of a connection.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
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
from tracer.model.batch import ENOUGH
from tracer.model.labelnames import OWNER_LABELS
from tracer.model.totals import Model

RECORDS = 100_000
"""Five batches of the largest size: the first one costs more, as label sets begin and memory is touched for the first time."""

FULL = 20_000
"""Records at a time as a reader finds them that is busy."""

TEN = 10
"""Records of a look on a quiet machine."""

FEW = 40
"""Records of a batch whose cost is nearly all beyond them."""

STATES = {"syn_sent": 33_000, "established": 5_000_000, "fin_wait1": 20_000, "fin_wait2": 30_000}
LABELS = (("peer",), ("peer_group",), ("process",), ("container",), ("container", "netns"), ("process", "peer"))
HEAD = ("ring to columns", "columns to model", "together")


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
    batch["connection"] = np.arange(len(batch)) // 2 + 1
    for column in ("handshake_ns", "duration_ns"):
        batch[column] = (batch[column] * rng.uniform(0.5, 2, len(batch))).astype(np.uint64)
    return batch


def varied(records: Events) -> Events:
    """Return the same of several peers, processes, cgroups and network namespaces, each four of one connection."""
    rng = np.random.default_rng(23)
    records = records.copy()
    peer = rng.integers(0, 64, len(records) // 4).repeat(4)
    records["remote_address"][:, 15] = peer
    records["process"] = np.char.add("process-", (peer % 8).astype("U1")).astype("S16")
    records["cgroup"], records["netns"] = peer % 16 + 1, peer % 2
    return records


def ring_of(records: Events) -> NDArray[np.uint8]:
    """Return the data area of a ring that holds records from its beginning; its size is a power of two."""
    size = records.dtype.itemsize
    data = np.zeros(1 << (len(records) * (size + HEADER) - 1).bit_length(), np.uint8)
    rows = data[: len(records) * (size + HEADER)].reshape(len(records), size + HEADER)
    rows[:, :4] = np.array([size], "<u4").view(np.uint8)
    rows[:, HEADER:] = records.view(np.uint8).reshape(len(records), size)
    return data


def record_ns(
    data: NDArray[np.uint8], batch: int, dtype: np.dtype[np.void] = BEGINNING, labels: Sequence[str] = ()
) -> tuple[float, float]:
    """Return nanoseconds of CPU per record, of taking them from the ring and of adding them to a model."""
    stride = dtype.itemsize + HEADER
    model = model_with(labels)
    taking = adding = 0
    for first in range(0, RECORDS, batch):
        begin = time.thread_time_ns()
        found = find(data, first * stride, min(first + batch, RECORDS) * stride, dtype)
        columns = Transposed.of(found.runs)
        taking += time.thread_time_ns() - begin
        new = replace(reading(), columns=columns)
        begin = time.thread_time_ns()
        model.add(new)
        adding += time.thread_time_ns() - begin
    assert int(model.report().events.sum()) == RECORDS
    return taking / RECORDS, adding / RECORDS


def model_with(labels: Sequence[str]) -> Model:
    """Return a model that knows of a dump, so that no namespace is one that only events tell of, as nearly all are."""
    model = Model(CONTEXT, labels=labels)
    model.add(reading(snapshot=Snapshot(time_ns=1, namespaces=(0, 1))))
    return model


def batch_us(records: Events) -> float:
    """Return microseconds of CPU of a batch of FEW records that is counted at once."""
    model, taken = model_with(()), []
    for first in range(0, 100 * FEW, FEW):
        new = replace(reading(), columns=Transposed.of([records[first : first + FEW]]))
        begin = time.thread_time_ns()
        model.add(new)
        model.finish()
        taken.append(time.thread_time_ns() - begin)
    return median(taken) / 1000


def medians(rounds: int, records: Events, batch: int, labels: Sequence[str] = ()) -> list[float]:
    """Return both figures of record_ns(), and their sum."""
    data = ring_of(records)
    taken = [record_ns(data, batch, records.dtype, labels) for _ in range(rounds)]
    take_ns, add_ns = median(t for t, _ in taken), median(a for _, a in taken)
    return [take_ns, add_ns, take_ns + add_ns]


def by_size(rounds: int) -> None:
    """Print it for several sizes of batches, and what a look and a counting cost beyond their records."""
    records = beginnings(traffic(RECORDS))
    found = {batch: medians(rounds, records, batch) for batch in (TEN, 100, 2_000, FULL)}
    add_ns, each_ns = found[FULL][1:]
    look_us = TEN * (found[TEN][2] - each_ns) / 1000
    beyond_us = median(batch_us(records) for _ in range(rounds)) - FEW * add_ns / 1000
    show(
        "Decode: nanoseconds of CPU per record",
        ["records at a time", *HEAD],
        [[f"{batch:,}", *(f"{ns:,.0f}" for ns in figures)] for batch, figures in found.items()],
        f"{1000 / add_ns:.1f} million records/s through the model, {FULL:,} at a time.",
        f"A look that finds {TEN} records costs {look_us:,.0f} us beyond them, with its share of the counting.",
        f"To count costs {beyond_us:,.0f} us beyond the records, once for {ENOUGH:,} of them or once a second.",
    )


def by_labels(rounds: int) -> None:
    """Print it for several labels."""
    rows = []
    for labels in LABELS:
        records = varied(traffic(RECORDS))
        records = beginnings(records) if OWNER_LABELS.isdisjoint(labels) else records
        figures = medians(rounds, records, FULL, labels)
        rows.append([", ".join(labels), *(f"{ns:,.0f}" for ns in figures), f"{1000 / figures[1]:.1f}"])
    show(f"Decode with labels, {FULL:,} records at a time", ["labels", *HEAD, "million records/s"], rows)


def decode(rounds: int) -> None:
    """Print both."""
    by_size(rounds)
    by_labels(rounds)
