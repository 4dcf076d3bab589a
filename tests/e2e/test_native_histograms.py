"""Debian's Prometheus scrapes native histograms where it is told to, classic ones elsewhere, and both say what is true.

The times of the first half are chosen, and served by the real server. Those of the second are a real network's, with a known
round trip.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.server import ADDRESS, Prometheus, prometheus
from tests.e2e.test_dashboards import filled, walk
from tests.kernel.path import SERVER, Route, route
from tests.kernel.tracing import tracing
from tests.kernel.traffic import connect, listening
from tests.kernel.until import until
from tests.needs import ROOT
from tests.unit.model.builder import CONTEXT, events, reading
from tracer.model.totals import Model
from tracer.outputs.web.http import serve
from tracer.outputs.web.listening import bind

pytestmark = [pytest.mark.kernel, pytest.mark.needs("prometheus")]

NATIVE = ("--enable-feature=native-histograms",)
TIMES = np.sort(np.exp(np.random.default_rng(23).uniform(np.log(2e-6), np.log(3e5), 2000)))
"""Seconds, of every magnitude from 2 us to 3 days."""

QUANTILE = "histogram_quantile({q}, tcptrace_connection_duration_seconds{kind})"


@contextmanager
def served(model: Model) -> Iterator[str]:
    server = serve(bind(f"{ADDRESS}:0"), model.report, lambda: True)
    try:
        yield server.address
    finally:
        server.close()


def closed(times: Sequence[float]) -> Model:
    model = Model(CONTEXT)
    batch = events("close", len(times))
    batch["duration_ns"] = np.round(np.array(times) * 1e9)
    model.add(reading(batch))
    return model


@contextmanager
def scraped(model: Model, place: Path, *flags: str) -> Iterator[Prometheus]:
    with served(model) as address, prometheus(place, address, flags=flags) as server:
        server.wait_until_up()
        yield server


@pytest.mark.parametrize("q", [0.05, 0.25, 0.5, 0.75, 0.9, 0.99])
def test_a_quantile_of_a_native_histogram_is_within_five_percent_of_the_truth(native: Prometheus, q: float) -> None:
    found = native.value(QUANTILE.format(q=q, kind=""))
    assert found == pytest.approx(np.quantile(TIMES, q, method="inverted_cdf"), rel=0.05)


@pytest.fixture(name="native", scope="module")
def fixture_native(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with scraped(closed(TIMES.tolist()), tmp_path_factory.mktemp("native"), *NATIVE) as server:
        yield server


def test_count_and_sum_of_a_native_histogram_are_exact(native: Prometheus) -> None:
    assert native.value("histogram_count(tcptrace_connection_duration_seconds)") == len(TIMES)
    assert native.value("histogram_sum(tcptrace_connection_duration_seconds)") == pytest.approx(TIMES.sum())
    assert native.value("sum(tcptrace_connections_closed_total)") == len(TIMES)


@pytest.mark.parametrize("bound", [2.0**-20, 2.0**-10, 1.0, 2 ** (1 / 8), 2.0**17])
def test_the_share_below_a_bound_of_schema_3_is_exact(native: Prometheus, bound: float) -> None:
    found = native.value(f"histogram_fraction(0, {bound!r}, tcptrace_connection_duration_seconds)")
    assert found == pytest.approx((bound >= TIMES).mean(), abs=1e-9)


def test_without_the_flag_prometheus_has_the_classic_buckets(tmp_path: Path) -> None:
    with scraped(closed(TIMES.tolist()), tmp_path) as server:
        assert server.value("tcptrace_connection_duration_seconds") is None
        assert server.value("tcptrace_connection_duration_seconds_count") == len(TIMES)
        assert server.value('tcptrace_connection_duration_seconds_bucket{le="1.0"}') == (TIMES <= 1).sum()
        assert server.value("count(tcptrace_connection_duration_seconds_bucket)") == 28


ROUND_TRIP = 0.2
PORT = 2500 + os.getpid() % 1000  # this session's alone, on a machine with others
CONNECTIONS = 23


def connect_at_once(way: Route) -> None:
    """Open connections at the same time, as each waits for the network, and close them, the client first."""
    with listening(way.server, SERVER[4], PORT) as listener, ThreadPoolExecutor(CONNECTIONS) as pool:
        opening = [pool.submit(connect, way.client, SERVER[4], PORT) for _ in range(CONNECTIONS)]
        for each in opening:
            each.result().close()
            listener.accept()[0].close()


@dataclass(frozen=True)
class Watched:
    """A Prometheus that scrapes native histograms of a real run, and knows the rules; with the network that the run watches."""

    server: Prometheus
    way: Route


@pytest.fixture(name="watched", scope="module")
def fixture_watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Have connections in two lots with a scrape between, so that there are rates."""
    place, rules = tmp_path_factory.mktemp("watched"), [ROOT / "dashboards/rules.yml"]
    with route(ROUND_TRIP / 2) as way, tracing("--port", str(PORT), side=way.client) as tracer:
        connect_at_once(way)
        with prometheus(place, tracer.address, rules=rules, side=way.client, flags=NATIVE) as server:
            until(lambda: server.value(COUNT) == CONNECTIONS, "the first lot was scraped")
            connect_at_once(way)
            until(lambda: server.value(COUNT) == 2 * CONNECTIONS, "the second lot was scraped")
            yield Watched(server, way)


COUNT = f'histogram_count(tcptrace_handshake_duration_seconds{{role="client",port="{PORT}"}})'


def test_a_real_runs_quantile_is_within_five_percent_of_the_networks_round_trip(watched: Watched) -> None:
    assert watched.server.value("up") == 1
    times = f'tcptrace_handshake_duration_seconds{{role="client",port="{PORT}"}}'
    for expression in (times, f"rate({times}[5m])"):
        assert watched.server.value(f"histogram_quantile(0.5, {expression})") == pytest.approx(ROUND_TRIP, rel=0.05)


@pytest.mark.parametrize("level", ["instance", "job"])
def test_the_rules_record_quantiles_from_native_histograms(watched: Watched, level: str) -> None:
    name = f'{level}_role_port:tcptrace_handshake_duration_seconds:p50_rate5m{{role="client"}}'
    until(lambda: watched.server.value(name) is not None, "the rule was evaluated")
    assert watched.server.value(name) == pytest.approx(ROUND_TRIP, rel=0.05)


def test_every_histogram_of_the_dashboards_is_shown_where_there_are_no_classic_buckets(watched: Watched) -> None:
    assert watched.server.value('count({__name__=~"tcptrace_.+_bucket"})') is None
    asked = histogram_queries()
    assert len(asked) > 10
    for query in asked:
        until(lambda query=query: bool(watched.server.ask("query", query=query)["data"]["result"]), query)  # type: ignore[misc]


def histogram_queries() -> list[str]:
    """Return the queries of the dashboards that show a histogram."""
    files = [json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "dashboards").glob("*.json")]
    return [
        filled(target["expr"], dashboard).replace("[15s]", "[5m]")
        for dashboard in files
        for panel in walk(dashboard["panels"])
        for target in panel.get("targets", [])
        if "_bucket" in target["expr"]
    ]
