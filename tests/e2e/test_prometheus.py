"""Debian's Prometheus scrapes a real run, and knows the number of connections to the last one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.e2e.server import ADDRESS, prometheus
from tests.kernel import net
from tests.kernel.tracing import Tracing, tracing
from tests.kernel.traffic import listening, refuse, talk
from tests.needs import tool

pytestmark = pytest.mark.kernel

PORT = 1500 + os.getpid() % 1000  # this session's alone, on a machine with others
TIMES = 23


def make_connections(side: net.Namespace) -> None:
    for _ in range(5):
        refuse(side, ADDRESS, PORT)
    with listening(side, ADDRESS, PORT) as listener:
        talk(side, listener, ADDRESS, times=TIMES)


@pytest.fixture(name="tracer", scope="module")
def fixture_tracer() -> Iterator[Tracing]:
    """Return a tracer that has seen a known number of connections."""
    with net.namespace() as side, tracing("--port", str(PORT)) as tracer:
        make_connections(side)
        tracer.wait_for_transitions({("fin_wait2", "close"): TIMES, ("last_ack", "close"): TIMES})
        yield tracer


@pytest.mark.needs("prometheus")
def test_prometheus_scrapes_a_run_and_counts_every_handshake(tracer: Tracing, tmp_path: Path) -> None:
    with prometheus(tmp_path, tracer.address) as server:
        server.wait_until_up()
        for role in ("client", "server"):
            assert server.value(f'tcptrace_handshakes_total{{role="{role}",port="{PORT}"}}') == TIMES
            assert server.value(f'tcptrace_handshake_duration_seconds_count{{role="{role}",port="{PORT}"}}') == TIMES
        assert server.value('sum(tcptrace_handshake_failures_total{reason="refused"})') == 5
        assert server.value('tcptrace_state_transitions_total{from="close",to="syn_sent"}') == TIMES + 5
        assert server.value("tcptrace_events_lost_total") == 0
        median = server.value("histogram_quantile(0.5, sum by (le) (tcptrace_handshake_duration_seconds_bucket))")
        assert median is not None
        assert 0 < median < 1
        assert server.value('count({__name__=~"tcptrace_.+_created"})') is None


@pytest.mark.needs("promtool")
def test_promtool_has_nothing_to_say_about_the_metrics(tracer: Tracing) -> None:
    text, _ = tracer.get("/metrics")
    done = subprocess.run([tool("promtool"), "check", "metrics"], input=text, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_openmetrics_form_says_the_same(tracer: Tracing) -> None:
    text, head = tracer.get("/metrics", Accept="application/openmetrics-text")
    assert head["Content-Type"].startswith("application/openmetrics-text")
    families = {family.name: family for family in text_string_to_metric_families(text.decode())}  # type: ignore[no-untyped-call]
    assert sum(sample.value for sample in families["tcptrace_handshakes"].samples) == 2 * TIMES
    assert families["tcptrace_handshake_duration_seconds"].type == "histogram"
