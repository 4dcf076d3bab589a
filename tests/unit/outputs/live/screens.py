"""Histories for tests of the live view, and its lines as plain text."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tests.unit.addresses import column
from tests.unit.model.builder import CONTEXT, SECOND, events, reading
from tests.unit.outputs.conftest import model_of_traffic
from tracer.ingest.decode import Events
from tracer.ingest.snapshot import PortUse, Snapshot
from tracer.ingest.source import Program
from tracer.model.audit import AuditLine
from tracer.model.history import History, history
from tracer.model.totals import Model
from tracer.outputs.live.styled import Line, plain

AUDITED = ("ActiveOpens", "PassiveOpens", "EstabResets", "RetransSegs")


def texts(lines: Sequence[Line]) -> list[str]:
    return [plain(line).rstrip() for line in lines]


def of_nothing() -> History:
    model = Model(CONTEXT, start_ns=0)
    model.add(reading())
    return history(model.report())


def of_traffic() -> History:
    """Return ten seconds of two services as one interval, with an audit that finds nothing."""
    report = model_of_traffic().report()
    return history(replace(report, audit=tuple(AuditLine(name, 28, 28) for name in AUDITED)))


def of_trouble() -> History:
    """Return traffic of which something was lost, where counts drift and the ports to one destination run out."""
    now = of_traffic()
    snapshot = Snapshot(
        states={"time_wait": 26_100},
        time_wait=(("192.0.2.1:443", 26_000), ("192.0.2.2:8080", 90), ("other", 10)),
        ports=(
            PortUse(1, "192.0.2.9", "192.0.2.1:443", 26_050, 28_232, 253.0),
            PortUse(1, "192.0.2.9", "192.0.2.2:8080", 90, 28_232, None),
        ),
    )
    report = replace(
        now.report,
        snapshot=snapshot,
        events_lost=23,
        untracked=5,
        label_overflow=7,
        programs=(Program("inet_sock_set_state", attached=True, runs=0, run_seconds=0.0, misses=3),),
        audit=(AuditLine("ActiveOpens", 30, 28), AuditLine("PassiveOpens", 7, 7), AuditLine("RetransSegs", 3, 4)),
    )
    return history(report, history(replace(report, duration_seconds=9)))


def of_many_services(many: int = 40) -> History:
    model = Model(CONTEXT, start_ns=0)
    batches = [events("handshake", 100 + n, port=1000 + n, handshake_ns=1_000_000 + n) for n in range(many)]
    model.add(reading(*batches, events("failure", 3, port=1001, error=errno.ETIMEDOUT), time_ns=2 * SECOND))
    return history(model.report())


def of_a_minute(seconds: int = 90) -> History:
    """Return a service whose rate climbs from 0 to 9 a second again and again, and whose times double every ten seconds."""
    model = Model(CONTEXT, start_ns=0)
    now = None
    for second in range(1, seconds + 1):
        batch = events("handshake", second % 10, handshake_ns=1_000_000 << second // 10)
        model.add(reading(batch, time_ns=second * SECOND))
        now = history(model.report(), now)
    assert now is not None
    return now


def of_calm(seconds: int = 90) -> History:
    """Return a service that did something in its first second alone."""
    model = Model(CONTEXT, start_ns=0)
    now = None
    for second in range(1, seconds + 1):
        model.add(reading(*([events("handshake", 3), events("failure")] if second == 1 else []), time_ns=second * SECOND))
        now = history(model.report(), now)
    assert now is not None
    return now


def of_connections() -> History:
    """Return two connections of a client to port 443, one that has ended and one that is open, and one that was refused."""
    batch = np.concatenate(
        [
            events(
                "handshake",
                local_port=50001,
                connection=1,
                time_ns=SECOND,
                handshake_ns=1_000_000,
                process=b"curl",
                initial_sequence=7,
            ),
            events(
                *("close", 1),
                local_port=50001,
                connection=1,
                time_ns=2 * SECOND,
                sent_bytes=1000,
                srtt_us=500,
                from_state="fin_wait2",
                state_ns={"syn_sent": 1_000_000, "established": 900_000_000, "fin_wait1": 60_000_000, "fin_wait2": 40_000_000},
                process=b"curl",
            ),
            events("handshake", local_port=50002, connection=2, time_ns=2 * SECOND, handshake_ns=1_000_000),
            events(
                "failure", local_port=50003, connection=3, time_ns=2 * SECOND, error=errno.ECONNREFUSED, from_state="syn_sent"
            ),
        ]
    )
    model = Model(CONTEXT, start_ns=0)
    model.add(reading(batch, time_ns=3 * SECOND))
    return history(model.report(), None, (batch,))


def of_both_ends() -> History:
    """Return a connection of which both ends are on this machine, and one that its client's port had before."""
    ends = ("192.0.2.5", 50001), ("192.0.2.1", 443)
    batch = np.concatenate(
        [
            _handshake(*ends, "client", number=1, second=1, sequences=(70, 90)),
            _handshake(*ends, "client", number=2, second=3, sequences=(700, 900)),
            _handshake(ends[1], ends[0], "server", number=3, second=3, sequences=(900, 700)),
        ]
    )
    model = Model(CONTEXT, start_ns=0)
    model.add(reading(batch, time_ns=4 * SECOND))
    return history(model.report(), None, (batch,))


def _handshake(
    local: tuple[str, int], remote: tuple[str, int], role: str, *, number: int, second: int, sequences: tuple[int, int]
) -> Events:
    return events(
        "handshake",
        role=role,
        peer=remote[0],
        local_address=column(local[0]),
        local_port=local[1],
        remote_port=remote[1],
        connection=number,
        time_ns=second * SECOND,
        handshake_ns=1_000_000,
        initial_sequence=sequences[0],
        peer_initial_sequence=sequences[1],
    )
