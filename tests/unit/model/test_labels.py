from __future__ import annotations

import numpy as np
import pytest

from tests.unit.model.builder import SECOND, events
from tracer.errors import TcptraceError
from tracer.ingest.workloads import Workload
from tracer.model.labels import FIXED, LabelSets
from tracer.model.naming import Naming
from tracer.model.tcp import ROLE


def test_a_server_is_labelled_by_its_local_port_and_a_client_by_the_remote_one() -> None:
    sets = LabelSets()
    rows = sets.rows(
        np.concatenate([events("handshake", role="server", port=8080), events("handshake", role="client", port=443)])
    )
    assert {sets.sets[row] for row in rows} == {("server", "8080"), ("client", "443")}


def test_a_socket_of_unknown_role_is_labelled_by_its_lower_port_unless_that_is_zero() -> None:
    sets = LabelSets()
    batch = events("close", 3, role="unknown")
    batch["local_port"], batch["remote_port"] = [50123, 22, 0], [22, 50123, 80]
    assert [sets.sets[row] for row in sets.rows(batch)] == [("unknown", "22"), ("unknown", "22"), ("unknown", "80")]


def test_a_label_set_keeps_its_row_over_batches() -> None:
    sets = LabelSets()
    first = sets.rows(events("handshake", 23, port=443))
    sets.rows(events("handshake", port=80))
    assert sets.rows(events("handshake", port=443))[0] == first[0]
    assert len(set(first.tolist())) == 1


def test_labels_come_in_a_fixed_order_whatever_order_they_were_asked_for() -> None:
    assert LabelSets(("netns", "peer")).names == ("role", "port", "peer", "netns")


def test_an_unknown_label_is_refused_with_those_there_are() -> None:
    with pytest.raises(TcptraceError, match="no label colour") as error:
        LabelSets(("colour",))
    assert error.value.hint == "choose from peer, peer_group, process, workload, container, netns"


def test_peers_are_told_apart_and_ipv4_is_dotted() -> None:
    sets = LabelSets(("peer",))
    sets.rows(np.concatenate([events("handshake", peer="192.0.2.7"), events("handshake", peer="2001:db8::7")]))
    assert {values[2] for values in sets.sets[FIXED:]} == {"192.0.2.7", "2001:db8::7"}


def test_processes_namespaces_and_containers_are_told_apart() -> None:
    sets = LabelSets(("process", "container", "netns"), naming=Naming(container={7: Workload("web")}.__getitem__))
    batch = events("handshake", 3, cgroup=7)
    batch["process"], batch["netns"] = [b"curl", b"wget", b"wget"], [1, 1, 2]
    sets.rows(batch)
    assert set(sets.sets[FIXED:]) == {
        ("client", "443", process, "web", netns) for process, netns in (("curl", "1"), ("wget", "1"), ("wget", "2"))
    }


def test_two_control_groups_of_the_same_name_are_one_series() -> None:
    sets = LabelSets(("container",), naming=Naming(container=lambda _: Workload("web")))
    rows = sets.rows(np.concatenate([events("handshake", cgroup=1), events("handshake", cgroup=2)]))
    assert rows[0] == rows[1]
    assert len(sets) == FIXED + 1


def test_what_follows_the_end_of_a_process_name_is_not_part_of_it() -> None:
    sets = LabelSets(("process",))
    rows = sets.rows(np.concatenate([events("handshake", process=b"nginx\0old"), events("handshake", process=b"nginx")]))
    assert rows[0] == rows[1]


def test_a_process_name_that_is_no_text_still_makes_a_label() -> None:
    sets = LabelSets(("process",))
    sets.rows(events("handshake", process=b"\xff\xfe"))
    assert sets.sets[FIXED][2] == r"\xff\xfe"


def texts(sets: LabelSets) -> set[tuple[str, ...]]:
    """Return the label sets that have a row of their own."""
    return {values for values in sets.sets[FIXED:] if values}


def test_what_fails_on_a_port_without_a_service_is_counted_under_other_of_its_role() -> None:
    sets = LabelSets()
    batch = events("failure", 65_535)
    batch["remote_port"] = np.arange(1, 65_536)
    rows = sets.rows(batch)
    assert {sets.sets[row] for row in rows} == {("client", "other")}
    assert (texts(sets), sets.overflowed) == (set(), 0)


@pytest.mark.parametrize("kind", ["syn", "syn_ack"])
def test_a_retransmitted_syn_earns_no_label_set_and_data_do(kind: str) -> None:
    sets = LabelSets()
    sets.rows(events("retransmit", retransmit_kind=kind, from_state="syn_sent"))
    assert texts(sets) == set()
    sets.rows(events("retransmit", retransmit_kind="fast"))
    assert texts(sets) == {("client", "443")}


def test_a_reset_earns_a_label_set_only_for_an_open_connection() -> None:
    sets = LabelSets()
    sets.rows(np.concatenate([events("reset", port=80), events("reset", port=81, from_state="syn_sent", connection=7)]))
    assert texts(sets) == set()
    sets.rows(events("reset", port=82, connection=7))
    assert texts(sets) == {("client", "82")}


def test_failures_of_a_service_that_had_a_handshake_stay_with_it() -> None:
    sets = LabelSets()
    first = sets.rows(events("handshake"))
    assert sets.rows(events("failure")).tolist() == first.tolist()


def test_a_listener_earns_a_label_set_but_none_for_each_peer() -> None:
    half_open = events("failure", role="server", port=80, from_state="syn_recv")
    sets = LabelSets()
    sets.rows(half_open)
    assert texts(sets) == {("server", "80")}
    by_peer = LabelSets(("peer",))
    by_peer.rows(half_open)
    assert texts(by_peer) == set()


def test_ports_that_were_asked_for_need_not_earn_a_label_set() -> None:
    sets = LabelSets(given=(443,))
    sets.rows(np.concatenate([events("failure"), events("failure", port=80)]))
    assert texts(sets) == {("client", "443")}


def test_when_there_are_too_many_the_smallest_and_stalest_leave_and_not_the_newest() -> None:
    folded: list[tuple[list[int], list[int]]] = []
    sets = LabelSets(limit=3, fold=lambda rows, onto: folded.append((rows.tolist(), onto.tolist())))
    for second, (port, n) in enumerate([(1, 50), (2, 1), (3, 1)]):
        sets.rows(events("handshake", n, port=port), second * SECOND)
    sets.rows(events("handshake", port=4), 3 * SECOND)
    assert texts(sets) == {("client", "1"), ("client", "3"), ("client", "4")}
    assert folded == [([FIXED + 1], [1 + ROLE["client"]])]
    assert sets.overflowed == 1


def test_a_large_one_leaves_too_once_it_is_stale_enough() -> None:
    sets = LabelSets(limit=2)
    sets.rows(events("handshake", 50, port=1), 0)
    hour = 3600 * SECOND
    sets.rows(events("handshake", 3, port=2), hour)
    sets.rows(events("handshake", port=3), hour)
    assert texts(sets) == {("client", "2"), ("client", "3")}


def test_a_label_set_that_left_comes_back_as_a_new_one() -> None:
    sets = LabelSets()
    sets.rows(events("handshake", port=80), 0)
    serial = sets.tenure.serials[FIXED]
    sets.expire(1)
    assert texts(sets) == set()
    (row,) = sets.rows(events("handshake", port=80), 2)
    assert sets.sets[row] == ("client", "80")
    assert sets.tenure.serials[row] > serial


def test_one_with_an_open_connection_does_not_leave_for_being_idle() -> None:
    sets = LabelSets(held=lambda rows: np.arange(rows) == FIXED)
    sets.rows(np.concatenate([events("handshake", port=80), events("handshake", 2, port=81)]), 0)
    held = sets.sets[FIXED]
    sets.expire(1)
    assert texts(sets) == {held}


def test_a_flood_of_peers_stays_within_the_limit_and_takes_no_busy_ones_place() -> None:
    sets = LabelSets(("peer",), limit=100)
    sets.rows(events("handshake", 1000, peer="198.51.100.1"), 0)
    for second in range(1, 8):
        batch = events("handshake", 10_000)
        batch["remote_address"][:, 12:] = (
            np.arange(second * 10_000, (second + 1) * 10_000, dtype=">u4").view(np.uint8).reshape(-1, 4)
        )
        sets.rows(batch, second * SECOND)
    sets.rows(events("handshake", peer="198.51.100.2"), 9 * SECOND)
    assert len(sets) == FIXED + 100
    assert {("client", "443", f"198.51.100.{n}") for n in (1, 2)} <= texts(sets)


def test_several_labels_may_be_given_with_commas() -> None:
    assert LabelSets(("netns,peer", "process")).names == ("role", "port", "peer", "process", "netns")
