from __future__ import annotations

import numpy as np
import pytest

from tests.unit.model.builder import events
from tracer.errors import TcptraceError
from tracer.ingest.workloads import Workload
from tracer.model.labels import SAMPLES_PER_SET, LabelSets, Naming


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
    assert {values[2] for values in sets.sets[1:]} == {"192.0.2.7", "2001:db8::7"}


def test_processes_namespaces_and_containers_are_told_apart() -> None:
    sets = LabelSets(("process", "container", "netns"), naming=Naming(container={7: Workload("web")}.__getitem__))
    batch = events("handshake", 3, cgroup=7)
    batch["process"], batch["netns"] = [b"curl", b"wget", b"wget"], [1, 1, 2]
    sets.rows(batch)
    assert set(sets.sets[1:]) == {
        ("client", "443", process, "web", netns) for process, netns in (("curl", "1"), ("wget", "1"), ("wget", "2"))
    }


def test_two_control_groups_of_the_same_name_are_one_series() -> None:
    sets = LabelSets(("container",), naming=Naming(container=lambda _: Workload("web")))
    rows = sets.rows(np.concatenate([events("handshake", cgroup=1), events("handshake", cgroup=2)]))
    assert rows[0] == rows[1]
    assert len(sets) == 2


def test_what_follows_the_end_of_a_process_name_is_not_part_of_it() -> None:
    sets = LabelSets(("process",))
    rows = sets.rows(np.concatenate([events("handshake", process=b"nginx\0old"), events("handshake", process=b"nginx")]))
    assert rows[0] == rows[1]


def test_a_process_name_that_is_no_text_still_makes_a_label() -> None:
    sets = LabelSets(("process",))
    sets.rows(events("handshake", process=b"\xff\xfe"))
    assert sets.sets[1][2] == r"\xff\xfe"


def test_past_the_limit_new_label_sets_are_counted_under_other_the_busiest_being_kept() -> None:
    sets = LabelSets(max_series=2 * SAMPLES_PER_SET)
    batch = np.concatenate([events("handshake", n, port=port) for port, n in ((1, 3), (2, 5), (3, 7))])
    rows = sets.rows(batch)
    assert sets.sets == [("other", "other"), ("client", "3"), ("client", "2")]
    assert rows.tolist() == [0] * 3 + [2] * 5 + [1] * 7
    assert sets.overflowed == 3


def test_known_label_sets_stay_after_the_limit_is_reached() -> None:
    sets = LabelSets(max_series=SAMPLES_PER_SET)
    first = sets.rows(events("handshake", port=443))
    sets.rows(events("handshake", 23, port=80))
    assert sets.rows(events("handshake", port=443)).tolist() == first.tolist()
    assert sets.overflowed == 23


def test_at_least_one_label_set_is_kept_however_small_the_limit() -> None:
    sets = LabelSets(max_series=1)
    assert sets.rows(events("handshake")).tolist() == [1]


def test_a_scan_of_all_ports_stays_within_the_limit() -> None:
    sets = LabelSets()
    batch = events("failure", 65_535)
    batch["remote_port"] = np.arange(1, 65_536)
    sets.rows(batch)
    assert len(sets) == 1 + 5000 // SAMPLES_PER_SET
    assert sets.overflowed == 65_535 - 5000 // SAMPLES_PER_SET


def test_a_scan_of_more_peers_than_are_remembered_stays_within_the_limit() -> None:
    sets = LabelSets(("peer",))
    batch = events("failure", 70_000)
    batch["remote_address"][:, 12:] = np.arange(70_000, dtype=">u4").view(np.uint8).reshape(-1, 4)
    sets.rows(batch)
    rows = sets.rows(batch)
    assert np.count_nonzero(rows) == 5000 // SAMPLES_PER_SET
    assert sets.overflowed == 2 * (70_000 - 5000 // SAMPLES_PER_SET)
