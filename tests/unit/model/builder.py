"""Real records and readings in a line or two, for tests of everything behind the decoder."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tests.unit.addresses import column
from tracer.ingest.counted import Counted
from tracer.ingest.decode import BEGINNING, EVENT, LAYOUT, Events
from tracer.ingest.snapshot import Snapshot
from tracer.ingest.source import Context, Program, Reading
from tracer.model.labels import MAX_SETS
from tracer.model.naming import Naming
from tracer.model.report import Report
from tracer.model.tcp import CELL, FLAG, KIND, RETRANSMIT_KINDS, ROLE, STATE
from tracer.model.totals import Model

CONTEXT = Context(kernel="6.18.0", bcc="0.26.0", anchor_ns=0, netns=4026531840, reads="direct")
SECOND = 1_000_000_000


def events(
    kind: str,
    n: int = 1,
    *,
    role: str = "client",
    port: int = 443,
    flags: tuple[str, ...] = (),
    from_state: str = "established",
    peer: str = "192.0.2.1",
    retransmit_kind: str = "unknown",
    state_ns: Mapping[str, int] | None = None,
    **columns: object,
) -> Events:
    """Return n equal records of a kind; port is the service's, other columns are given by their own names."""
    batch = np.zeros(n, EVENT)
    batch["kind"], batch["role"] = KIND[kind], ROLE[role]
    batch["from_state"], batch["to_state"] = STATE[from_state], STATE["close"]
    batch["local_port"], batch["remote_port"] = (port, 50123) if role == "server" else (50123, port)
    batch["remote_address"] = column(peer)
    batch["flags"] = sum(FLAG[flag] for flag in flags)
    batch["retransmit_kind"] = RETRANSMIT_KINDS.index(retransmit_kind)
    for state, ns in (state_ns or {}).items():
        batch["visited"] |= 1 << STATE[state]
        batch["state_ns"][:, STATE[state]] = ns
    for name, value in columns.items():
        batch[name] = value
    return batch


def beginnings(records: Events) -> Events:
    """Return records as a run has them that does not ask for whole ones."""
    cut = records.view(np.uint8).reshape(len(records), EVENT.itemsize)[:, : BEGINNING.itemsize]
    return np.ascontiguousarray(cut).view(BEGINNING)[:, 0]


def reading(
    *batches: Events,
    time_ns: int = SECOND,
    cells: Mapping[str, int] | None = None,
    transitions: Mapping[tuple[str, str], int] | None = None,
    programs: tuple[Program, ...] = (),
    sockets: Mapping[str, int] | None = None,
    snapshot: Snapshot | None = None,
    counted: tuple[Counted, ...] = (),
) -> Reading:
    """Return one Reading of these batches in their order, with counter cells by lower-case name; sockets: of a snapshot."""
    snapshot = Snapshot(states=sockets, namespaces=(0,)) if sockets else snapshot
    numbers = np.zeros(LAYOUT.enums["counter"]["COUNTER_CELLS"], np.uint64)
    for name, value in (cells or {}).items():
        numbers[CELL[name]] = value
    for (old, new), value in (transitions or {}).items():
        numbers[STATE[old] * 16 + STATE[new]] = value
    together = np.concatenate(batches) if batches else np.zeros(0, EVENT)
    return Reading(together, numbers, time_ns, programs, snapshot, counted=counted)


def report_of(*batches: Events, labels: tuple[str, ...] = (), max_sets: int = MAX_SETS, naming: Naming | None = None) -> Report:
    """Return the Report of a model that was given each batch as a reading of its own."""
    model = Model(CONTEXT, labels=labels, max_sets=max_sets, naming=naming, start_ns=0)
    for batch in batches or (np.zeros(0, EVENT),):
        model.add(reading(batch))
    return model.report()
