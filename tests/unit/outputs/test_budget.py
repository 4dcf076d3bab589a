"""The bound on samples, held against what a scraper sees: every exposition is counted, and no sum may fall."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from random import Random

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.model.builder import CONTEXT, SECOND, events, reading
from tests.unit.outputs.metricfamily import families
from tracer.ingest.decode import Events
from tracer.ingest.snapshot import Listening, PortUse, Snapshot
from tracer.ingest.source import Program
from tracer.model.report import Report
from tracer.model.sockets import SHOWN_STATES
from tracer.model.totals import Model
from tracer.outputs.budget import Budget
from tracer.outputs.limits import BRIEF, LEAST
from tracer.outputs.prometheus import PROTOBUF, TEXT, render

HOUR = 3600 * SECOND

Sample = tuple[str, frozenset[tuple[str, str]]]


def model(**options: object) -> Model:
    return Model(CONTEXT, start_ns=0, **options)  # type: ignore[arg-type]


def connections(ports: Iterable[int], n: int = 1) -> Events:
    """Return handshakes and ends of clients on these ports, with times."""
    batches = [
        np.concatenate(
            [events("handshake", n, port=port, handshake_ns=300), events("close", n, port=port, srtt_us=7, duration_ns=33)]
        )
        for port in ports
    ]
    return np.concatenate(batches)


def scraped(report: Report) -> dict[Sample, float]:
    """Return the samples of the text form, this process's own left out."""
    found = text_string_to_metric_families(render(report).decode())
    samples = [sample for family in found for sample in family.samples]
    return {(s.name, frozenset(s.labels.items())): s.value for s in samples if s.name.startswith("tcptrace_")}


def services(samples: Iterable[Sample]) -> set[str]:
    """Return the ports that have series of their own."""
    return {
        port for name, labels in samples if name == "tcptrace_handshakes_total" and (port := dict(labels)["port"]) != "other"
    }


def sums(samples: dict[Sample, float], *, of_roles: bool = False) -> dict[str, float]:
    """Return the sum of each counter over all its series; of_roles: without what has left."""
    found: dict[str, float] = defaultdict(float)
    for (name, labels), value in samples.items():
        if name.endswith(("_total", "_count", "_sum")) and not (of_roles and ("left", "yes") in labels):
            found[name] += value
    return found


class Scraper:
    """Holds every exposition against the one before: no sum, and no series, may be less than it was."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._last: dict[Sample, float] = {}
        self.increase: dict[str, float] = defaultdict(float)

    def look(self, report: Report) -> dict[Sample, float]:
        now = scraped(self._budget.of(report))
        for name, before in sums(self._last).items():
            assert sums(now)[name] >= before * (1 - 1e-12), name
        for key, value in now.items():
            counter = key[0].endswith(("_total", "_count", "_sum", "_bucket"))
            before = self._last.get(key, 0.0)
            assert not counter or value >= before, f"{key} fell from {before} to {value}"
            if counter and ("left", "yes") not in key[1]:
                self.increase[key[0]] += value - before
        self._last = now
        return now


def test_the_samples_stay_within_the_bound_however_many_services_there_are() -> None:
    counted = model()
    counted.add(reading(connections(range(1, 1500))))
    for most in (2000, 5000, 20_000):
        report = Budget(most).of(counted.report())
        lines = [line for line in render(report).decode().splitlines() if not line.startswith("#")]
        assert most * 0.9 < len(lines) <= most


def test_a_native_histogram_is_one_sample_so_that_more_services_fit() -> None:
    counted = model()
    counted.add(reading(connections(range(1, 1500))))
    shown = {}
    for native in (False, True):
        report = Budget(5000, native=native).of(counted.report())
        shown[native] = len(report.series.labels)
        if native:
            found = families(render(report, PROTOBUF))
            assert sum(len(family.metric) for family in found) <= 5000
    assert shown[True] > 3 * shown[False]


def test_what_has_no_place_is_in_other_and_the_sums_are_the_truth() -> None:
    counted = model()
    counted.add(reading(connections(range(1, 1000), 2)))
    report = counted.report()
    within = Budget(3000).of(report)
    assert sums(scraped(within))["tcptrace_handshakes_total"] == 2 * 999
    assert within.label_overflow > 0
    assert within.series.connections.sum() == report.series.connections.sum()


def test_within_the_bound_nothing_is_changed() -> None:
    counted = model()
    counted.add(reading(connections([80, 443])))
    report = counted.report()
    assert Budget(5000).of(report).series is report.series
    assert Budget(None).of(report) is report


@pytest.mark.parametrize("most", [LEAST, 3000])
def test_a_service_that_comes_after_a_flood_has_its_own_series_at_once(most: int) -> None:
    counted, budget = model(), Budget(most)
    counted.add(reading(connections([443], 1000)))
    budget.of(counted.report())
    counted.add(reading(connections(range(1000, 2500)), time_ns=2 * SECOND))
    budget.of(counted.report())
    counted.add(reading(connections([7020]), time_ns=3 * SECOND))
    shown = services(scraped(budget.of(counted.report())))
    assert "7020" in shown
    assert "443" in shown or most == LEAST


def test_what_lives_stays_when_ports_of_a_moment_are_too_many() -> None:
    counted = model()
    snapshot = Snapshot(time_ns=1, listening=(Listening(0, 80),))
    counted.add(reading(connections(range(1000, 1300)), events("handshake", port=2049), snapshot=snapshot))
    shown = Budget(3000).of(counted.report()).series.labels
    assert {("server", "80"), ("client", "2049")} <= set(shown)
    assert len(shown) < 300


def test_an_idle_service_leaves_and_comes_back_with_its_own() -> None:
    counted, scraper = model(label_ttl=3600), Scraper(Budget(5000))
    counted.add(reading(connections([80, 443], 5)))
    assert services(scraper.look(counted.report())) == {"80", "443"}
    counted.add(reading(connections([443]), time_ns=2 * HOUR))
    now = scraper.look(counted.report())
    assert services(now) == {"443"}
    assert sums(now)["tcptrace_handshakes_total"] == 11
    assert sums(now, of_roles=True)["tcptrace_handshakes_total"] == 6
    counted.add(reading(connections([80], 2), time_ns=2 * HOUR + SECOND))
    now = scraper.look(counted.report())
    assert now["tcptrace_handshakes_total", frozenset({("role", "client"), ("port", "80")})] == 2
    assert sums(now)["tcptrace_handshakes_total"] == 13


def test_when_all_services_have_left_the_sums_are_still_there() -> None:
    counted, scraper = model(label_ttl=10), Scraper(Budget(5000))
    scraper.look(counted.report())
    counted.add(reading(connections([80], 5)))
    scraper.look(counted.report())
    counted.add(reading(time_ns=HOUR))
    now = scraper.look(counted.report())
    assert (services(now), sums(now)["tcptrace_handshakes_total"]) == (set(), 5)


def test_what_came_between_the_last_look_and_the_leaving_is_counted_once() -> None:
    counted, scraper = model(label_ttl=10), Scraper(Budget(5000))
    counted.add(reading(connections([80], 5)))
    scraper.look(counted.report())
    counted.add(reading(connections([80], 3), time_ns=2 * SECOND))
    counted.add(reading(connections([443]), time_ns=60 * SECOND))
    now = scraper.look(counted.report())
    assert sums(now)["tcptrace_handshakes_total"] == 9
    assert scraper.increase["tcptrace_handshakes_total"] == 9


@pytest.mark.parametrize("seed", range(3))
def test_no_sum_and_no_series_ever_falls_while_sets_leave_give_way_and_return(seed: int) -> None:
    random = Random(seed)
    counted, scraper = model(label_ttl=20, max_sets=60), Scraper(Budget(2500))
    total = 0
    now: dict[Sample, float] = {}
    for second in range(1, 45):
        ports = random.sample(range(1, 90), random.choice([0, 1, 3, 40]))
        batches = [connections([port], n) for port in ports if (n := random.randrange(1, 40))]
        total += sum(int(np.count_nonzero(batch["kind"] == batch["kind"][0])) for batch in batches)
        counted.add(reading(*batches, events("failure", 3, port=random.randrange(1, 65536)), time_ns=second * SECOND))
        if random.random() < 0.4:
            now = scraper.look(counted.report())
            assert sums(now)["tcptrace_handshakes_total"] == total
            assert sums(now)["tcptrace_connection_duration_seconds_count"] == total
            assert scraper.increase["tcptrace_handshakes_total"] == total
    assert any(("left", "yes") in labels for _, labels in now)


def test_the_same_report_twice_is_the_same_exposition() -> None:
    counted, budget = model(), Budget(2500)
    for second in range(1, 5):
        counted.add(reading(connections(range(second * 100, second * 100 + 90)), time_ns=second * SECOND))
        report = counted.report()
        assert scraped(budget.of(report)) == scraped(budget.of(report))


def test_container_info_is_of_those_that_have_series_and_counts_as_a_sample() -> None:
    counted = model(labels=("container",))
    batch = np.concatenate([events("handshake", handshake_ns=7, cgroup=cgroup) for cgroup in range(1, 500)])
    counted.add(reading(batch))
    report = Budget(3000).of(counted.report())
    lines = [line for line in render(report).decode().splitlines() if not line.startswith("#")]
    assert len(lines) <= 3000
    about = {line.split('container="')[1].split('"')[0] for line in lines if line.startswith("tcptrace_container_info")}
    assert about == {labels[2] for labels in report.series.labels} - {"other"}


def worst_case() -> Iterator[Report]:
    """Yield reports in which all is told that is of no label set, and services leave and give way."""
    counted = model(label_ttl=20)
    limits = tuple((netns, 1000 + netns) for netns in range(1, 64))
    uses = [PortUse(7, "10.0.0.1", f"192.0.2.{n}:443", n, 100, seen=seen) for n in range(10) for seen in ("sockets", "events")]
    snapshot = Snapshot(
        states=dict.fromkeys(SHOWN_STATES, 1),
        time_wait=tuple((f"192.0.2.{n}:443", n) for n in range(11)),
        ports=(*uses, *(PortUse(n, "*", "*", 1, 1000 + n) for n in range(1, 11))),
        ports_limit=1,
        other_limits=limits,
    )
    programs = tuple(Program(str(n), True, 1, 0.0, 0) for n in range(10))
    edges = {(a, b): 1 for a in SHOWN_STATES for b in SHOWN_STATES[:4]}
    for second, first in ((1, 1), (60, 500)):
        ports = range(first, first + 300)
        servers = [
            events(kind, role="server", port=port, state_ns={"established": 7})
            for port in ports
            for kind in ("handshake", "close")
        ]
        counted.add(
            reading(
                connections(ports), *servers, time_ns=second * SECOND, programs=programs, snapshot=snapshot, transitions=edges
            )
        )
        yield counted.report()


@pytest.mark.parametrize("most", [LEAST, BRIEF - 1, BRIEF, 2000])
@pytest.mark.parametrize("form", [TEXT, PROTOBUF])
def test_the_bound_holds_from_the_least_on_in_the_worst_case(most: int, form: str) -> None:
    budget = Budget(most, native=form == PROTOBUF)
    *_, last = map(budget.of, worst_case())
    body = render(last, form)
    if form == PROTOBUF:
        samples = sum(len(family.metric) for family in families(body))
    else:
        samples = sum(not line.startswith("#") for line in body.decode().splitlines())
    assert most * 0.7 < samples <= most
