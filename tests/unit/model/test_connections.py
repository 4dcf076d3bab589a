from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.unit.model.builder import CONTEXT, SECOND, events, reading
from tests.unit.model.dumps import OTHER_NETNS, OWN
from tracer.ingest.snapshot import MARGIN_NS, Moment, OpenService, Snapshot
from tracer.model.tcp import STATE
from tracer.model.totals import Model

BEFORE, AMID, AFTER = 1 * SECOND, 2 * SECOND, 3 * SECOND
"""Times of records, beside a dump that took from 1.5 to 2.5 s."""


def opened(n: int, time_ns: int | list[int] = BEFORE, **columns: Any) -> Any:
    return events("handshake", n, **{"time_ns": time_ns, "netns": OWN} | columns)


def closed(n: int, time_ns: int | list[int] = BEFORE, **columns: Any) -> Any:
    return events("close", n, **{"time_ns": time_ns, "netns": OWN} | columns)


def dumped(*found: tuple[str, int, int], after: int = 0, namespaces: tuple[int, ...] = (OWN,)) -> Snapshot:
    """Return a snapshot, so many seconds after the first one, in which services (role, port, connections) are open."""
    start, end = AMID - SECOND // 2 + after * SECOND, AMID + SECOND // 2 + after * SECOND
    services = tuple(OpenService(namespaces[0], *each) for each in found)
    return Snapshot(time_ns=end, open=services, moments=tuple(Moment(netns, start, end) for netns in namespaces))


def model_of(*parts: Any, labels: tuple[str, ...] = ()) -> Model:
    """Return a model that was given records (arrays) and snapshots, each as a reading."""
    model = Model(CONTEXT, labels=labels, start_ns=0)
    for part in parts:
        model.add(reading(time_ns=AFTER, snapshot=part) if isinstance(part, Snapshot) else reading(part, time_ns=AFTER))
    return model


def open_of(model: Model) -> dict[tuple[str, ...], int]:
    series = model.report().series
    return {labels: int(n) for labels, n in zip(series.labels, series.connections, strict=True) if n}


CLIENT = ("client", "443")


def test_a_dump_that_agrees_changes_nothing() -> None:
    model = model_of(opened(23), closed(5), dumped(("client", 443, 18)), dumped(("client", 443, 18), after=2))
    assert open_of(model) == {CLIENT: 18}
    report = model.report()
    assert (report.unseen_beginnings, report.unseen_ends) == (0, 0)


def test_what_was_open_before_is_in_the_first_dump_and_is_not_called_unseen() -> None:
    model = model_of(opened(7), dumped(("client", 443, 7 + 23), ("server", 80, 5)))
    assert open_of(model) == {CLIENT: 30, ("server", "80"): 5}
    assert model.report().unseen_beginnings == 0


@pytest.mark.parametrize(("found", "beginnings", "ends"), [(20, 2, 0), (15, 0, 3), (0, 0, 18)])
def test_a_wrong_count_is_right_after_the_next_dump(found: int, beginnings: int, ends: int) -> None:
    model = model_of(opened(18), dumped(("client", 443, 18)), dumped(("client", 443, found), after=2))
    assert sum(open_of(model).values()) == found
    report = model.report()
    assert (report.unseen_beginnings, report.unseen_ends) == (beginnings, ends)


def test_what_opened_and_closed_after_the_dump_comes_on_top() -> None:
    model = model_of(opened(18), dumped(("client", 443, 18)))
    late = 6 * SECOND
    model.add(reading(opened(7, late), closed(2, late), time_ns=late, snapshot=dumped(("client", 443, 23), after=2)))
    assert open_of(model) == {CLIENT: 23 + 7 - 2}


@pytest.mark.parametrize("found", range(15, 21))
def test_what_changed_while_the_dump_was_made_may_be_in_it_or_not(found: int) -> None:
    """15 were open before, 5 opened and 3 closed: 12 to 20 may be found, and 17 are open."""
    model = model_of(opened(15), dumped(("client", 443, 15), after=-1), opened(5, AMID), closed(3, AMID))
    model.add(reading(time_ns=AFTER, snapshot=dumped(("client", 443, found))))
    assert open_of(model) == {CLIENT: 17}


def test_what_no_change_explains_is_put_right_also_then() -> None:
    model = model_of(opened(15), dumped(("client", 443, 15), after=-1), opened(5, AMID), closed(3, AMID))
    model.add(reading(time_ns=AFTER, snapshot=dumped(("client", 443, 30))))
    assert open_of(model) == {CLIENT: 27}


def test_a_change_just_before_or_after_the_dump_counts_as_one_meanwhile() -> None:
    edges = [AMID - SECOND // 2 - MARGIN_NS // 2, AMID + SECOND // 2 + MARGIN_NS // 2]
    model = model_of(opened(15), dumped(("client", 443, 15), after=-1), opened(2, time_ns=edges))
    model.add(reading(time_ns=AFTER, snapshot=dumped(("client", 443, 15))))
    assert open_of(model) == {CLIENT: 17}


@pytest.mark.parametrize("found", [0, 1])
def test_what_opens_while_the_first_dump_is_made_is_open_after_it(found: int) -> None:
    model = model_of(opened(1, AMID), dumped(("client", 443, found)))
    assert open_of(model) == {CLIENT: 1}


def test_an_older_connection_that_closes_before_the_dump_arrives_is_open_no_more() -> None:
    old = closed(2, flags=("partial",), time_ns=[AMID - SECOND, AFTER])
    assert open_of(model_of(old, dumped(("client", 443, 23)))) == {CLIENT: 22}


def test_an_older_connection_is_taken_off_when_it_closes() -> None:
    late = closed(5, 5 * SECOND, flags=("partial",))
    assert open_of(model_of(dumped(("client", 443, 23)), late)) == {CLIENT: 18}


def test_an_older_connection_is_taken_off_also_after_its_namespace_was_let_go_of() -> None:
    model = model_of(dumped(("client", 443, 3)), dumped(after=2, namespaces=(OTHER_NETNS,)), closed(2, flags=("partial",)))
    assert open_of(model) == {CLIENT: 1}


def test_without_a_dump_a_connection_counts_when_its_handshake_was_seen() -> None:
    """Those that are older take nothing off, a fault that would be there for ever."""
    model = model_of(opened(2), closed(5, flags=("partial",)), opened(3, netns=OTHER_NETNS), closed(1, netns=OTHER_NETNS))
    assert open_of(model) == {CLIENT: 4}


def test_a_partial_connection_whose_handshake_was_seen_is_taken_off_without_a_dump() -> None:
    visited = 1 << STATE["syn_recv"] | 1 << STATE["established"]
    ends = closed(2, flags=("partial",), visited=visited)
    assert open_of(model_of(opened(2, flags=("partial",)), ends)) == {}


def test_a_connection_that_was_never_established_but_had_its_handshake_is_taken_off() -> None:
    """A Fast Open server that closes before the last ACK: its handshake has a record, and then its close."""
    ends = closed(1, visited=1 << STATE["syn_recv"] | 1 << STATE["fin_wait1"])
    assert open_of(model_of(opened(2), ends)) == {CLIENT: 1}


def test_a_restored_connection_is_open_without_a_handshake() -> None:
    visited = 1 << STATE["syn_sent"] | 1 << STATE["established"]
    record = events(
        "state", 3, role="client", remote_port=443, from_state="syn_sent", to_state=STATE["established"],
        flags=("partial", "repair"), time_ns=BEFORE, netns=OWN,
    )  # fmt: skip
    model = model_of(record, closed(1, flags=("partial",), visited=visited))
    assert open_of(model) == {CLIENT: 2}


def test_another_namespace_is_left_alone_by_a_dump() -> None:
    model = model_of(opened(5, netns=OTHER_NETNS), opened(3), dumped(("client", 443, 3)), dumped(("client", 443, 1), after=2))
    assert open_of(model) == {CLIENT: 6}


def test_with_a_filter_that_a_dump_cannot_apply_records_are_all_there_is() -> None:
    assert open_of(model_of(opened(5), Snapshot(time_ns=AMID))) == {CLIENT: 5}


def test_what_a_dump_finds_has_no_other_labels_and_what_it_misses_is_taken_from_there_first() -> None:
    peers = [opened(n, peer=f"192.0.2.{n}") for n in (5, 7)]
    model = model_of(*peers, dumped(("client", 443, 12)), dumped(("client", 443, 15), after=2))
    labelled = model_of(*peers, dumped(("client", 443, 12)), dumped(("client", 443, 15), after=2), labels=("peer",))
    assert open_of(model) == {CLIENT: 15}
    assert open_of(labelled) == {(*CLIENT, ""): 3, (*CLIENT, "192.0.2.5"): 5, (*CLIENT, "192.0.2.7"): 7}
    labelled.add(reading(time_ns=9 * SECOND, snapshot=dumped(("client", 443, 10), after=4)))
    assert open_of(labelled) == {(*CLIENT, "192.0.2.5"): 5, (*CLIENT, "192.0.2.7"): 5}


def test_an_older_connection_with_labels_is_taken_from_those_without() -> None:
    late = closed(2, 5 * SECOND, flags=("partial",), peer="192.0.2.5")
    assert open_of(model_of(dumped(("client", 443, 3)), late, labels=("peer",))) == {(*CLIENT, ""): 1}


def test_the_namespace_is_a_label_that_a_dump_knows() -> None:
    model = model_of(dumped(("client", 443, 3)), labels=("netns",))
    assert open_of(model) == {(*CLIENT, str(OWN)): 3}


def test_a_lost_end_is_settled_while_others_go_on() -> None:
    model = model_of(
        opened(100), dumped(("client", 443, 100)), np.concatenate([opened(7, AMID + SECOND), closed(5, AMID + SECOND)])
    )
    model.add(reading(time_ns=9 * SECOND, snapshot=dumped(("client", 443, 101), after=4)))
    assert open_of(model) == {CLIENT: 101}
    assert model.report().unseen_ends == 1


def test_sets_below_zero_are_made_up_for_by_the_others_of_their_service_and_of_no_other() -> None:
    ends = np.concatenate([closed(1, port=port, peer=f"192.0.2.{n}") for port in (80, 443) for n in range(2, 40)])
    begun = np.concatenate([opened(50, port=port, peer="192.0.2.1") for port in (80, 443, 8080)])
    model = model_of(begun, ends, labels=("peer",))
    assert open_of(model) == {
        ("client", "80", "192.0.2.1"): 12,
        ("client", "443", "192.0.2.1"): 12,
        ("client", "8080", "192.0.2.1"): 50,
    }
