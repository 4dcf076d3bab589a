from __future__ import annotations

from ipaddress import ip_address

import numpy as np
import pytest

from tests.unit.addresses import mapped
from tests.unit.model.builder import events, report_of
from tracer.errors import UsageError
from tracer.model.labels import LabelSets
from tracer.model.naming import Naming
from tracer.model.peers import PeerGroups, peer_groups


def named(groups: PeerGroups, address: str) -> str:
    return groups.name(mapped(address))


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("10.0.0.1", "office"),
        ("10.1.0.1", "lab"),
        ("10.1.2.3", "bench"),
        ("2001:db8::1", "six"),
        ("2001:db8:1::1", "deeper"),
        ("11.0.0.9", "11.0.0.0/24"),
        ("2001:dead:beef:1::1", "2001:dead:beef::/48"),
        ("::1", "::/48"),
    ],
)
def test_the_longest_prefix_wins_and_other_peers_go_by_their_network(address: str, group: str) -> None:
    texts = ["lab=10.1.0.0/16", "office=10.0.0.0/8", "bench=10.1.2.3/32", "deeper=2001:db8:1::/48", "six=2001:db8::/32"]
    assert named(peer_groups(texts), address) == group


def test_a_group_has_several_networks_of_both_families() -> None:
    groups = peer_groups(["site=192.0.2.0/24,2001:db8::/32"], "other")
    assert [named(groups, address) for address in ("192.0.2.9", "2001:db8::9", "192.0.3.9")] == ["site", "site", "other"]


def test_all_of_ipv6_has_no_ipv4_and_the_other_way_round() -> None:
    groups = peer_groups(["six=::/0"], "other")
    assert (named(groups, "192.0.2.1"), named(groups, "::1")) == ("other", "six")
    groups = peer_groups(["four=0.0.0.0/0"], "other")
    assert (named(groups, "192.0.2.1"), named(groups, "::1")) == ("four", "other")


@pytest.mark.parametrize(("texts", "group"), [(["lan=fe80::/64", "all=::/0"], "lan"), ([], "fe80::/48")])
@pytest.mark.parametrize("interface", [7, 70_007])
def test_a_link_local_address_is_in_a_network_whatever_its_interface(texts: list[str], group: str, interface: int) -> None:
    address = ip_address("fe80::1").packed
    assert peer_groups(texts).name(address[:4] + interface.to_bytes(4, "big") + address[8:]) == group


def test_a_groups_name_is_shown_as_every_other_name() -> None:
    assert named(peer_groups(["a\x1b[2J\udcff=::/0"]), "::1") == r"a\x1b[2J\xff"


def test_ipv4_in_its_mapped_form_is_ipv4() -> None:
    assert named(peer_groups(["lab=::ffff:10.0.0.0/104"]), "10.9.9.9") == "lab"


@pytest.mark.parametrize(
    ("texts", "rest", "what"),
    [
        (["lab"], "network", "has no name of its own"),
        (["=10.0.0.0/8"], "network", "has no name of its own"),
        (["other=10.0.0.0/8"], "network", "has no name of its own"),
        (["lab=10.0.0/8"], "network", "'10.0.0/8' is no network"),
        (["lab=10.0.0.1/8"], "network", "'10.0.0.1/8' is no network"),
        (["lab=10.0.0.0/33"], "network", "is no network"),
        (["lab="], "network", "'' is no network"),
        (["lab=10.0.0.0/8", "lab=11.0.0.0/8"], "network", "lab is given twice"),
        (["lab=10.0.0.0/8", "office=10.0.0.0/8"], "network", "10.0.0.0/8 is in --peer-group lab and in office"),
        (["lab=10.0.0.0/8", "office=::ffff:10.0.0.0/104"], "network", "10.0.0.0/8 is in --peer-group lab and in office"),
        ([], "all", "--peer-rest all is not known"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(texts: list[str], rest: str, what: str) -> None:
    with pytest.raises(UsageError) as error:
        peer_groups(texts, rest)
    assert what in str(error.value)
    assert error.value.exit_status == 2


def test_all_peers_of_a_group_are_one_label_set_however_many_come() -> None:
    sets = LabelSets(("peer_group",), naming=Naming(peers=peer_groups(["lab=10.0.0.0/8"], "other")))
    batch = events("handshake", 70_000)
    batch["remote_address"][:, 12:] = np.arange(70_000, dtype=">u4").view(np.uint8).reshape(-1, 4)
    batch["remote_address"][:30_000, 12] = 10
    rows = sets.rows(batch)
    assert {sets.sets[row] for row in rows} == {("client", "443", "lab"), ("client", "443", "other")}
    assert sets.overflowed == 0


def test_a_group_is_counted_as_a_whole() -> None:
    batches = [
        events("handshake", 3, peer="10.0.0.1"),
        events("handshake", 2, peer="10.9.0.1"),
        events("handshake", peer="11.1.1.1"),
    ]
    report = report_of(*batches, labels=("peer_group",), naming=Naming(peers=peer_groups(["lab=10.0.0.0/8"])))
    found = dict(zip(report.series.labels, report.series.handshakes.tolist(), strict=True))
    assert found[("client", "443", "lab")] == 5
    assert found[("client", "443", "11.1.1.0/24")] == 1
