from __future__ import annotations

import itertools

import pytest

from tests.unit.model.builder import CONTEXT, SECOND, events, reading
from tests.unit.model.dumps import OTHER_NETNS, OWN, PORTS, dump, sockets
from tracer.ingest.decode import Events
from tracer.ingest.snapshot import Listening, Snapshot
from tracer.ingest.workloads import Workload
from tracer.kernel.filters import Filters
from tracer.model.naming import OTHER, Naming
from tracer.model.openservices import listening_services
from tracer.model.totals import Model

HOUR = 3600 * SECOND
_times = itertools.count(1)


def listening(*services: Listening) -> Snapshot:
    return Snapshot(time_ns=next(_times), listening=services)


def sets(model: Model) -> set[tuple[str, ...]]:
    """Return the label sets that have series, the `other` of each role left out."""
    return {labels for labels in model.report().series.labels if labels[1] != OTHER}


def serials(model: Model) -> dict[tuple[str, ...], int]:
    series = model.report().series
    return dict(zip(series.labels, series.serials.tolist(), strict=True))


def served(**columns: object) -> tuple[Events, Events]:
    """Return the beginning and the end of a connection that a server had."""
    return tuple(events(kind, role="server", port=80, **columns) for kind in ("handshake", "close"))  # type: ignore[arg-type,return-value]


def model(**options: object) -> Model:
    return Model(CONTEXT, start_ns=0, **options)  # type: ignore[arg-type]


def test_a_listener_has_its_series_with_zeros_before_anybody_connects() -> None:
    counted = model()
    counted.add(reading(snapshot=listening(Listening(OWN, 80))))
    assert sets(counted) == {("server", "80")}
    assert counted.report().series.handshakes.sum() == 0


def test_a_service_keeps_its_series_while_it_listens_and_for_the_label_ttl_after_that() -> None:
    counted = model(label_ttl=3600)
    counted.add(reading(*served(), snapshot=listening(Listening(OWN, 80))))
    counted.add(reading(time_ns=3 * HOUR, snapshot=listening(Listening(OWN, 80))))
    counted.add(reading(time_ns=3 * HOUR + SECOND, snapshot=listening()))
    assert sets(counted) == {("server", "80")}
    counted.add(reading(time_ns=5 * HOUR, snapshot=listening()))
    assert sets(counted) == set()


def test_what_a_listener_has_is_joined_by_what_happens_to_it() -> None:
    counted = model()
    counted.add(reading(snapshot=listening(Listening(OWN, 80))))
    counted.add(
        reading(events("reset", role="server", port=80, flags=("reset_sent",)), events("handshake", role="server", port=80))
    )
    series = counted.report().series
    assert [
        (row[1], int(n), int(sent.sum()))
        for row, n, sent in zip(series.labels[1:], series.handshakes[1:], series.resets_sent[1:], strict=True)
    ] == [("80", 1, 1)]


def test_listeners_do_not_take_the_places_of_one_another_again_and_again() -> None:
    counted = model(max_sets=8)
    many = [Listening(OWN, port) for port in range(1, 30)]
    counted.add(reading(events("handshake", 5, port=443), snapshot=listening(*many)))
    first = serials(counted)
    for second in range(2, 9):
        counted.add(reading(time_ns=second * SECOND, snapshot=listening(*many)))
    assert serials(counted) == first
    assert ("client", "443") in first


def test_a_flood_of_other_services_does_not_take_a_listeners_place() -> None:
    counted = model(max_sets=40)
    counted.add(reading(snapshot=listening(Listening(OWN, 80))))
    for second in range(2, 9):
        batches = [events("handshake", 2, port=second * 100 + n) for n in range(30)]
        counted.add(reading(*batches, time_ns=second * SECOND, snapshot=listening(Listening(OWN, 80))))
    assert ("server", "80") in sets(counted)


def test_a_service_that_listens_after_the_places_are_taken_has_one_at_once() -> None:
    counted = model(max_sets=40)
    counted.add(reading(*(events("handshake", port=port) for port in range(1, 41)), snapshot=listening()))
    counted.add(reading(time_ns=2 * SECOND, snapshot=listening(Listening(OWN, 80))))
    assert ("server", "80") in sets(counted)


def test_who_serves_is_not_guessed_from_who_listens() -> None:
    counted = model(labels=("process",), label_ttl=3600)
    counted.add(reading(snapshot=listening(Listening(OWN, 80))))
    assert sets(counted) == set()
    counted.add(reading(*served(process=b"nginx")))
    counted.add(reading(time_ns=3 * HOUR, snapshot=listening(Listening(OWN, 80))))
    assert sets(counted) == {("server", "80", "nginx")}


def test_peers_leave_also_while_their_server_listens() -> None:
    counted = model(labels=("peer",), label_ttl=3600)
    counted.add(reading(*served()))
    counted.add(reading(time_ns=3 * HOUR, snapshot=listening(Listening(OWN, 80))))
    assert sets(counted) == set()


@pytest.mark.parametrize(("cgroup", "expected"), [(7, {("server", "80", "web")}), (0, set())])
def test_a_listeners_workload_is_that_of_its_cgroup_if_it_is_known(cgroup: int, expected: set[tuple[str, ...]]) -> None:
    naming = Naming(container={7: Workload("web")}.__getitem__)
    counted = model(labels=("workload",), naming=naming)
    counted.add(reading(snapshot=listening(Listening(OWN, 80, cgroup))))
    assert sets(counted) == expected
    counted.add(reading(events("reset", role="server", port=80, flags=("reset_received",), cgroup=7)))
    assert counted.report().series.resets_received.sum() == 1
    assert sets(counted) == expected


def test_namespaces_are_told_apart_where_that_is_asked_for() -> None:
    services = (Listening(OWN, 80), Listening(OTHER_NETNS, 80))
    counted, by_netns = model(), model(labels=("netns",))
    for each in (counted, by_netns):
        each.add(reading(snapshot=listening(*services)))
    assert sets(counted) == {("server", "80")}
    assert sets(by_netns) == {("server", "80", str(OWN)), ("server", "80", str(OTHER_NETNS))}


LISTENERS = dump(
    sockets("listen", "0.0.0.0:80", "0.0.0.0:0", inode=7),
    sockets("listen", "[::]:80", "[::]:0", inode=8),
    sockets("listen", "10.0.0.1:8080", "0.0.0.0:0"),
    sockets("listen", "0.0.0.0:80", "0.0.0.0:0", netns=OTHER_NETNS),
    sockets("established"),
    ports={OWN: PORTS, OTHER_NETNS: PORTS},
)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(), {(OWN, 80), (OWN, 8080), (OTHER_NETNS, 80)}),
        (Filters(own_netns=True), {(OWN, 80), (OWN, 8080)}),
        (Filters(ports=(8080,)), {(OWN, 8080)}),
        (Filters(addresses=("10.0.0.0/8",)), {(OWN, 8080)}),
        (Filters(role="server", ports=(80,)), {(OWN, 80), (OTHER_NETNS, 80)}),
        (Filters(role="client"), set()),
        (Filters(pid=1), set()),
    ],
)
def test_only_listeners_that_the_filters_let_through_count(filters: Filters, expected: set[tuple[int, int]]) -> None:
    assert {(each.netns, each.port) for each in listening_services(LISTENERS, filters)} == expected
