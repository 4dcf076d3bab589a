"""Debian's Prometheus scrapes a real run, and knows the number of connections to the last one."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.kernel import net
from tests.kernel.tracing import Tracing, tracing
from tests.kernel.traffic import listening, refuse, talk
from tests.kernel.until import until
from tests.needs import tool

pytestmark = pytest.mark.kernel

PORT = 1500 + os.getpid() % 1000  # this session's alone, on a machine with others
TIMES = 23
ADDRESS = "127.0.0.1"

CONFIGURATION = """
global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}
scrape_configs:
  - job_name: tcptrace
    static_configs: [{{targets: ["{target}"]}}]
"""


class Prometheus:
    """A running Prometheus. address: HOST:PORT of its own."""

    def __init__(self, address: str, process: subprocess.Popen[bytes]) -> None:
        self.address = address
        self._process = process

    def query(self, expression: str) -> float | None:
        """Return the value of an expression that yields one sample, None while it yields none."""
        question = urllib.parse.urlencode({"query": expression})
        assert self._process.poll() is None, "Prometheus has ended"
        try:
            with urllib.request.urlopen(f"http://{self.address}/api/v1/query?{question}", timeout=30) as answer:
                result = json.load(answer)["data"]["result"]
        except (urllib.error.URLError, ConnectionError):
            return None  # it is still starting
        return float(result[0]["value"][1]) if result else None


@contextmanager
def prometheus(target: str, place: Path) -> Iterator[Prometheus]:
    """Yield a Prometheus that scrapes a target twice a second; it is killed and leaves nothing outside its place."""
    address = f"{ADDRESS}:{free_port()}"
    configuration = place / "prometheus.yml"
    configuration.write_text(CONFIGURATION.format(target=target), encoding="utf-8")
    options = {"config.file": configuration, "storage.tsdb.path": place / "data", "web.listen-address": address}
    command = [tool("prometheus"), *(f"--{name}={value}" for name, value in options.items())]
    with (place / "log").open("wb") as log, subprocess.Popen(command, cwd=place, stdout=log, stderr=log) as process:
        try:
            yield Prometheus(address, process)
        finally:
            process.kill()


def free_port() -> int:
    """Return a port that nobody uses now; below the ephemeral ones nobody takes it by chance in the meantime."""
    return next(port for port in range(20_000, 30_000) if not is_taken(port))


def is_taken(port: int) -> bool:
    with Path("/proc/net/tcp").open(encoding="ascii") as file:
        return any(f":{port:04X} " in line for line in file)


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
    with prometheus(tracer.address, tmp_path) as server:
        until(lambda: server.query('up{job="tcptrace"}') == 1, "Prometheus has scraped tcptrace")
        for role in ("client", "server"):
            assert server.query(f'tcptrace_handshakes_total{{role="{role}",port="{PORT}"}}') == TIMES
            assert server.query(f'tcptrace_handshake_duration_seconds_count{{role="{role}",port="{PORT}"}}') == TIMES
        assert server.query('sum(tcptrace_handshake_failures_total{reason="refused"})') == 5
        assert server.query('tcptrace_state_transitions_total{from="close",to="syn_sent"}') == TIMES + 5
        assert server.query("tcptrace_events_lost_total") == 0
        median = server.query("histogram_quantile(0.5, sum by (le) (tcptrace_handshake_duration_seconds_bucket))")
        assert median is not None
        assert 0 < median < 1
        assert server.query('count({__name__=~"tcptrace_.+_created"})') is None


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
