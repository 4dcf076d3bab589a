"""What the output tests share: Prometheus's own linter, where the machine has it, and a Report of ordinary traffic."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.model.builder import CONTEXT, SECOND, events, reading
from tracer.ingest.source import Program
from tracer.model.report import Report
from tracer.model.totals import Model

CACHED = Path(__file__).parents[3] / ".cache" / "prometheus"


@pytest.fixture(scope="session")
def promtool() -> str:
    """Path of promtool: from PATH, or from a download of Prometheus under .cache/prometheus."""
    found = shutil.which("promtool") or next(map(str, _cached()), None)
    if found is None:
        pytest.skip("promtool is not installed (apt install prometheus)")
    return found


def _cached() -> Iterator[Path]:
    return CACHED.rglob("promtool")


@pytest.fixture
def report() -> Report:
    """23 client and 46 server handshakes with everything that may follow them, in ten seconds."""
    return model_of_traffic().report()


def model_of_traffic() -> Model:
    model = Model(replace(CONTEXT, reset_reasons={9: "tcp_abort_on_data"}), start_ns=0)
    states = {"syn_sent": 33_000, "established": 5_000_000, "fin_wait1": 20_000, "fin_wait2": 30_000}
    model.add(
        reading(
            events("handshake", 23, handshake_ns=1_000_000),
            events("handshake", 46, role="server", port=8080, handshake_ns=33_000),
            events("failure", 5, from_state="syn_sent", error=errno.ECONNREFUSED, state_ns={"syn_sent": 50_000}),
            events("close", 7, from_state="fin_wait2", state_ns=states, srtt_us=40, duration_ns=5_083_000, sent_bytes=1000),
            events("close", 2, role="server", port=8080, duration_ns=90 * SECOND, received_bytes=500),
            events("retransmit", 3, retransmit_kind="timeout", segments=1),
            events("reset", 2, role="server", port=8080, flags=("reset_sent", "reset_reason"), reset_reason=9),
            events("reset", 1, flags=("reset_received",)),
            time_ns=10 * SECOND,
            cells={"events_lost": 0, "untracked": 0, "partial": 4},
            transitions={("close", "syn_sent"): 28, ("syn_sent", "established"): 23, ("syn_sent", "close"): 5},
            programs=(Program("inet_sock_set_state", attached=True, runs=100, run_seconds=0.25, misses=1),),
            sockets={"established": 60, "time_wait": 7},
        )
    )
    return model
