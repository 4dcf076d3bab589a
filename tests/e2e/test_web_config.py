"""Debian's Prometheus scrapes over TLS, with a certificate and a password, and over one connection all the time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.server import prometheus
from tests.kernel import net
from tests.kernel.tracing import Tracing, tracing
from tests.kernel.until import until
from tests.needs import tool
from tests.unit.outputs.web.secured import ALICE, REQUIRED, authority, configuration

pytestmark = [pytest.mark.kernel, pytest.mark.needs("prometheus")]


@pytest.fixture(name="side", scope="module")
def fixture_side() -> Iterator[net.Namespace]:
    with net.namespace() as side:
        yield side


@pytest.fixture(name="tracer", scope="module")
def fixture_tracer(side: net.Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracing]:
    """Return a tracer that asks for a certificate and a password."""
    path = configuration(tmp_path_factory.mktemp("web"), f"{REQUIRED}basic_auth_users: {{alice: {ALICE}}}\n")
    with tracing("--netns", "own", "--web-config", str(path), side=side) as tracer:
        yield tracer


@pytest.fixture(name="scrape")
def fixture_scrape(tmp_path: Path) -> dict[str, Any]:
    """Return the settings of a job that may scrape."""
    authority().cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    pair = str(tmp_path / "prometheus.pem")
    authority().issue_cert("prometheus.example").private_key_and_cert_chain_pem.write_to_path(pair)
    return {
        "scheme": "https",
        "tls_config": {"ca_file": str(tmp_path / "ca.crt"), "cert_file": pair, "key_file": pair},
        "basic_auth": {"username": "alice", "password": "secret"},
    }


def test_prometheus_scrapes_with_certificate_and_password_over_one_connection(
    side: net.Namespace, tracer: Tracing, scrape: dict[str, Any], tmp_path: Path
) -> None:
    port = tracer.address.rpartition(":")[2]
    with prometheus(tmp_path, tracer.address, side=side, scrape=scrape) as server:
        until(lambda: (server.value("count_over_time(up[5m])") or 0) >= 7, "Prometheus has scraped seven times")
        assert server.value("min_over_time(up[5m])") == 1
        assert server.value(f'tcptrace_handshakes_total{{role="server", port="{port}"}}') == 1
        waiting = side.run(tool("ss"), "-tanH", "state", "time-wait", f"( sport = :{port} or dport = :{port} )")
    assert waiting == ""


WRONG = [
    ("basic_auth", {"password": "wrong"}, "401 Unauthorized"),
    ("tls_config", {"cert_file": "", "key_file": ""}, "403 Forbidden"),
]


@pytest.mark.parametrize(("section", "change", "why"), WRONG)
def test_prometheus_is_told_why_it_may_not(
    side: net.Namespace, tracer: Tracing, scrape: dict[str, Any], tmp_path: Path, section: str, change: dict[str, str], why: str
) -> None:
    settings = scrape | {section: scrape[section] | change}
    with prometheus(tmp_path, tracer.address, side=side, scrape=settings) as server:
        until(lambda: why in str(server.ask("targets")["data"]["activeTargets"]), f"it says {why}")
