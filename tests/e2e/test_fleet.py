"""Three hosts with different, known traffic, and one Prometheus: the Fleet dashboard tells them apart and adds them up."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.e2e.hosts import PORT as OWN_PORT, Fleet, Host, fleet
from tests.e2e.server import ADDRESS, Prometheus, prometheus
from tests.kernel.traffic import connect, listening, refuse, talk
from tests.kernel.until import until
from tests.needs import ROOT

pytestmark = [pytest.mark.kernel, pytest.mark.needs("prometheus", "nft")]

PORT = 7001
HANDSHAKES = (23, 29, 31)
REFUSED = (2, 3, 5)
OPEN = (1, 2, 4)
SIDES = 2
VARIABLES = {"$job": ".*", "$instance": ".*", "$__rate_interval": "2m", "$__range": "5m"}


@dataclass(frozen=True)
class Scene:
    """The hosts with their traffic behind them. when: a moment after it, for which everything is asked."""

    fleet: Fleet
    server: Prometheus
    when: float

    def ask(self, expression: str) -> dict[str, float]:
        """Return the values of an expression by instance; `` where there is none."""
        rows = self.server.ask("query", query=expression, time=str(self.when))["data"]["result"]
        return {row["metric"].get("instance", ""): float(row["value"][1]) for row in rows}

    def panel(self, title: str, name: str = "A") -> dict[str, float]:
        """Return what a panel of the dashboard shows; name: of its query."""
        return self.ask(expression_of(title, name))

    def by_host(self, values: tuple[float, ...]) -> dict[str, float]:
        """Return values by instance."""
        return {host.instance: value for host, value in zip(self.fleet.hosts, values, strict=True)}


def expression_of(title: str, name: str) -> str:
    document = json.loads((ROOT / "dashboards/tcptrace-fleet.json").read_text(encoding="utf-8"))
    (panel,) = (panel for panel in document["panels"] if panel["title"] == title)
    (text,) = (target["expr"] for target in panel["targets"] if target["refId"] == name)
    for variable, value in VARIABLES.items():
        text = text.replace(variable, value)
    return str(text)


@pytest.fixture(name="scene", scope="module")
def fixture_scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Return the scene; a first connection each was scraped before the others, so that all of those are an increase."""
    with ExitStack() as stack:
        some = stack.enter_context(fleet(len(HANDSHAKES), "--port", str(PORT)))
        targets = [host.instance for host in some.hosts]
        server = stack.enter_context(prometheus(tmp_path_factory.mktemp("fleet"), *targets, side=some.middle))
        for host in some.hosts:
            make_connections(stack, host, 1)
        wait_for(server, SIDES * len(HANDSHAKES))
        for host, handshakes, refused, held in zip(some.hosts, HANDSHAKES, REFUSED, OPEN, strict=True):
            make_connections(stack, host, handshakes - 1, refused=refused, held=held, slow=host is some.hosts[-1])
        wait_for(server, SIDES * sum(HANDSHAKES))
        until(lambda: (server.value("min(count_over_time(up[1h]))") or 0) > 10, "each host was scraped ten times")
        yield Scene(some, server, server.query("time()")[0].value)


def make_connections(stack: ExitStack, host: Host, times: int, *, refused: int = 0, held: int = 0, slow: bool = False) -> None:
    """Make connections within a host, of which some are refused in addition, some stay open, and one takes a second."""
    for _ in range(refused):
        refuse(host.side, ADDRESS, PORT)
    with listening(host.side, ADDRESS, PORT) as listener:
        if slow:
            host.side.drop(f"tcp dport {PORT} tcp flags & (syn | ack) == syn")
        talk(host.side, listener, ADDRESS, times=times - held)
        for _ in range(held):
            stack.enter_context(connect(host.side, ADDRESS, PORT))
            stack.enter_context(listener.accept()[0])


def wait_for(server: Prometheus, handshakes: int) -> None:
    until(lambda: server.value("sum(tcptrace_handshakes_total)") == handshakes, f"{handshakes} handshakes were scraped")


def test_every_host_is_seen(scene: Scene) -> None:
    assert scene.panel("Reachable hosts") == {"": 3}
    assert scene.panel("Silent hosts") in ({}, {"": 0})
    assert scene.panel("Figures by host", "A") == scene.by_host((1, 1, 1))


@pytest.mark.parametrize("role", ["client", "server"])
def test_each_host_has_its_own_number_of_handshakes_and_the_sum_is_theirs(scene: Scene, role: str) -> None:
    selector = f'tcptrace_handshakes_total{{role="{role}"}}'
    assert scene.ask(f"sum by (instance) ({selector})") == scene.by_host(HANDSHAKES)
    assert scene.ask(f"sum({selector})") == {"": sum(HANDSHAKES)}


def test_open_connections_are_counted_by_host_and_in_all(scene: Scene) -> None:
    assert scene.panel("Figures by host", "B") == scene.by_host(tuple(SIDES * held for held in OPEN))
    assert scene.panel("Open connections") == {"": SIDES * sum(OPEN)}


def test_the_rates_of_hosts_add_up_to_the_fleets(scene: Scene) -> None:
    rates = scene.panel("Figures by host", "C")
    first, *_, last = (rates[host.instance] for host in scene.fleet.hosts)
    assert 0 < first < last
    assert math.isclose(scene.panel("Completed handshakes")[""], sum(rates.values()))


def test_the_share_of_failures_is_each_hosts_own(scene: Scene) -> None:
    shares = scene.panel("Figures by host", "D")
    for host, made, failed in zip(scene.fleet.hosts, HANDSHAKES, REFUSED, strict=True):
        assert shares[host.instance] == pytest.approx(failed / (SIDES * (made - 1) + failed), rel=0.1)
    assert min(shares.values()) < scene.panel("Failed attempts")[""] < max(shares.values())


def test_the_fleets_percentile_is_that_of_the_summed_buckets_and_of_no_host(scene: Scene) -> None:
    of_hosts = scene.panel("Figures by host", "E")
    of_fleet = scene.panel("Handshake time, p99")[""]
    assert of_fleet == pytest.approx(quantile(0.99, summed_buckets(scene)))
    fast, quick, slow = (of_hosts[host.instance] for host in scene.fleet.hosts)
    assert max(fast, quick) < 1 < slow
    assert all(not math.isclose(of_fleet, other, rel_tol=0.01) for other in (slow, sum(of_hosts.values()) / 3))


def summed_buckets(scene: Scene) -> list[tuple[float, float]]:
    """Return bounds and rates of all hosts' buckets of clients' handshakes, added here and not by Prometheus."""
    query = 'rate(tcptrace_handshake_duration_seconds_bucket{role="client"}[2m])'
    sums: dict[float, float] = {}
    for row in scene.server.ask("query", query=query, time=str(scene.when))["data"]["result"]:
        bound = float(row["metric"]["le"])
        sums[bound] = sums.get(bound, 0) + float(row["value"][1])
    return sorted(sums.items())


def quantile(q: float, buckets: list[tuple[float, float]]) -> float:
    """Return a quantile of cumulative buckets, by interpolation within the one that it falls into."""
    wanted = q * buckets[-1][1]
    low, below = 0.0, 0.0
    for bound, count in buckets:
        if count >= wanted:
            return low + (bound - low) * (wanted - below) / (count - below)
        low, below = bound, count
    raise AssertionError("there is no such bucket")


def test_the_scrapes_themselves_are_not_taken_for_traffic(scene: Scene) -> None:
    assert scene.ask(f'tcptrace_handshakes_total{{port="{OWN_PORT}"}}') == {}
    assert scene.ask(f'sum(tcptrace_handshakes_total{{port!="{PORT}"}})') == {}
