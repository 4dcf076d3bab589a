from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from ipaddress import ip_address

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tests.needs import ROOT
from tests.unit.model.builder import events
from tests.unit.model.dumps import OTHER_NETNS, OWN, PORTS, SECOND, dump, sockets
from tracer.ingest.bound import BoundPorts
from tracer.ingest.ports import EphemeralPorts
from tracer.ingest.served import ServedPorts, codes_of
from tracer.ingest.sockdiag import Sockets
from tracer.model.columns import columns
from tracer.model.sockets import LARGEST, Summarizer, counted, largest, services, summed
from tracer.model.tcp import STATES

FEW = EphemeralPorts(40000, 40010)


def test_every_one_of_the_eleven_states_is_there_also_when_no_socket_is_in_it() -> None:
    states = summed(dump(sockets("established", n=23), sockets("close_wait", n=2))).states
    assert list(states) == list(STATES[1:12])
    assert len(states) == 11
    assert {state: count for state, count in states.items() if count} == {"established": 23, "close_wait": 2}


def test_nothing_gives_zeros() -> None:
    snapshot = summed(dump())
    assert sum(snapshot.states.values()) == 0
    assert (snapshot.time_wait, snapshot.ports, snapshot.ports_other) == ((), (), None)
    assert snapshot.ports_limit == 28232


def test_time_wait_is_counted_by_the_services_address_whichever_side_closed_first() -> None:
    snapshot = summed(
        dump(
            sockets("time_wait", n=23),
            sockets("time_wait", "10.0.0.1:80", "198.51.100.7:51000", 7, spread=False),
            sockets("time_wait", "[fd23::1]:40000", "[fd23::2]:443", 5),
        )
    )
    assert snapshot.time_wait == (("192.0.2.1:443", 23), ("10.0.0.1:80", 7), ("[fd23::2]:443", 5))


def test_destinations_beyond_the_largest_few_are_other_and_the_sum_stays() -> None:
    parts = [sockets("time_wait", remote=f"192.0.2.{i}:443", n=i) for i in range(1, 24)]
    snapshot = summed(dump(*parts))
    assert len(snapshot.time_wait) == LARGEST + 1
    assert snapshot.time_wait[0] == ("192.0.2.23:443", 23)
    assert snapshot.time_wait[-1] == ("other", sum(range(1, 14)))
    assert sum(count for _, count in snapshot.time_wait) == snapshot.states["time_wait"] == 276


def test_a_timewait_object_in_fin_wait2_is_one_and_counts_in_its_own_state() -> None:
    snapshot = summed(dump(sockets("time_wait", n=5), sockets("fin_wait2", n=2, timer=3, inode=0)))
    assert (snapshot.states["time_wait"], snapshot.states["fin_wait2"], snapshot.waiting_objects) == (5, 2, 7)
    assert snapshot.orphans == 0


def test_orphans_have_left_their_process_and_the_unaccepted_have_not_met_it() -> None:
    snapshot = summed(
        dump(
            *(sockets(state, n=2, inode=0) for state in ("fin_wait1", "fin_wait2", "closing", "last_ack")),
            *(sockets(state, n=3, inode=0) for state in ("established", "close_wait")),
            sockets("syn_recv", n=5, inode=0),
            sockets("time_wait", n=7),
            sockets("fin_wait1", n=11),
        )
    )
    assert (snapshot.orphans, snapshot.unaccepted) == (8, 6)


def roles(*parts: Sockets) -> list[str]:
    from tracer.model.sides import ephemeral_ports, server_sides

    found = dump(*parts)
    at = columns(found.sockets, {OWN: 0})
    return ["server" if s else "client" for s in server_sides(found.sockets, at, ephemeral_ports(at, found.ports))]


@pytest.mark.parametrize(
    ("local", "remote", "role"),
    [
        ("10.0.0.1:40000", "192.0.2.1:443", "client"),
        ("10.0.0.1:443", "192.0.2.1:40000", "server"),
        ("10.0.0.1:800", "192.0.2.1:2049", "client"),
        ("10.0.0.1:15000", "192.0.2.1:80", "client"),
        ("10.0.0.1:40000", "192.0.2.1:50051", "client"),
    ],
)
def test_without_a_listener_the_local_side_is_the_clients_unless_only_the_remote_port_is_an_ephemeral_one(
    local: str, remote: str, role: str
) -> None:
    assert roles(sockets("time_wait", local, remote)) == [role]


@pytest.mark.parametrize("listener", ["0.0.0.0:50051", "[::]:50051", "10.0.0.1:50051"])
def test_who_has_a_listener_on_its_port_is_the_server(listener: str) -> None:
    found = roles(
        sockets("listen", listener, "0.0.0.0:0"),
        sockets("established", "10.0.0.1:50051", "192.0.2.1:40000"),
        sockets("established", "10.0.0.1:40000", "10.0.0.1:50051"),
    )
    assert found == ["server", "server", "client"]


def test_a_service_that_has_ended_is_known_by_how_often_its_port_occurs() -> None:
    parts = [sockets("time_wait", "10.0.0.1:43237", f"192.0.2.1:{port}") for port in range(51000, 51005)]
    parts += [sockets("time_wait", f"10.0.0.1:{port}", "192.0.2.9:50051") for port in range(52000, 52005)]
    assert roles(*parts) == ["server"] * 5 + ["client"] * 5


def test_a_listener_of_another_namespace_says_nothing() -> None:
    snapshot = summed(
        dump(
            sockets("listen", "0.0.0.0:40000", "0.0.0.0:0", netns=OTHER_NETNS),
            sockets("established", "10.0.0.1:40000", "192.0.2.1:443"),
            ports={OWN: PORTS, OTHER_NETNS: PORTS},
        )
    )
    assert [(use.netns, use.destination) for use in snapshot.ports] == [(OWN, "192.0.2.1:443"), (OTHER_NETNS, "*")]
    assert snapshot.namespaces == (OWN, OTHER_NETNS)


def test_ports_in_use_are_those_of_the_local_address_with_most() -> None:
    (use,) = summed(
        dump(
            sockets("established", "10.0.0.1:40000", n=3),
            sockets("established", "10.0.0.2:40000", n=5),
            sockets("time_wait", "10.0.0.2:41000", n=2),
        )
    ).ports
    assert (use.destination, use.local_address, use.used, use.limit) == ("192.0.2.1:443", "10.0.0.2", 7, 28232)


def test_ports_out_of_the_range_reserved_ones_and_those_of_servers_are_not_in_use() -> None:
    reserved = EphemeralPorts(40000, 40010, frozenset({40001, 50000}))
    snapshot = summed(
        dump(
            sockets("established", "10.0.0.1:40000", n=2),
            sockets("established", "10.0.0.1:1023"),
            sockets("listen", "0.0.0.0:40005", "0.0.0.0:0"),
            sockets("established", "10.0.0.1:40005", "192.0.2.1:443"),
            ports={OWN: reserved},
        )
    )
    assert [(use.destination, use.used, use.limit) for use in snapshot.ports] == [("192.0.2.1:443", 1, 10), ("*", 1, 10)]


def test_each_port_that_bind_took_away_is_held_once_whoever_else_has_it() -> None:
    snapshot = Summarizer(bound=bound_ports(41000, 41001, 50000))(
        dump(
            sockets("close", "10.0.0.1:40000", "0.0.0.0:0", 3),
            sockets("close", "10.0.0.2:40001", "0.0.0.0:0"),
            sockets("listen", "0.0.0.0:40005", "0.0.0.0:0"),
            sockets("time_wait", "10.0.0.1:40005", "192.0.2.1:51000", 2, spread=False),
            sockets("close", "10.0.0.1:8080", "0.0.0.0:0"),
            sockets("established", "10.0.0.1:41000", n=7),
        )
    )
    assert [(use.local_address, use.destination, use.used) for use in snapshot.ports] == [
        ("10.0.0.1", "192.0.2.1:443", 7),
        ("*", "*", 3 + 1 + 2),
    ]
    assert snapshot.states["close"] == 5


def bound_ports(*ports: int) -> BoundPorts:
    found = BoundPorts()
    for port in ports:
        found.note_records(events("handshake", netns=OWN, flags=("bound",), local_port=port))
    return found


def test_a_port_of_bind_is_forgotten_when_no_socket_has_it_any_more() -> None:
    found, none = bound_ports(41000, 41001), np.empty(0, np.uint64)
    found.keep(none)
    assert len(found.codes) == 2, "the dump may be older than the records"
    found.keep(codes_of(np.array([OWN], np.uint32), np.array([41001], np.uint16)))
    assert found.codes.tolist() == [OWN << 16 | 41001]
    found.keep(none)
    assert not len(found.codes)


def test_each_namespace_has_its_own_ports_and_the_limit_is_tcptraces_own() -> None:
    snapshot = summed(
        dump(sockets("established", n=3, netns=OTHER_NETNS), sockets("established", n=2), ports={OWN: PORTS, OTHER_NETNS: FEW})
    )
    assert [(use.netns, use.used, use.limit) for use in snapshot.ports] == [(OTHER_NETNS, 3, 11), (OWN, 2, 28232)]
    assert snapshot.ports_limit == 28232


def test_a_destination_with_few_ports_left_comes_before_one_with_many_in_use() -> None:
    parts = [sockets("established", remote=f"192.0.2.{i}:443", n=100) for i in range(1, 24)]
    few = sockets("established", n=3, netns=OTHER_NETNS)
    snapshot = summed(dump(*parts, few, ports={OWN: PORTS, OTHER_NETNS: FEW}))
    assert (snapshot.ports[0].netns, snapshot.ports[0].used, snapshot.ports_other) == (OTHER_NETNS, 3, 100)


def test_of_the_rest_the_most_is_told() -> None:
    parts = [sockets("established", remote=f"192.0.2.{i}:443", n=i) for i in range(1, 24)]
    snapshot = summed(dump(*parts))
    assert [use.used for use in snapshot.ports] == list(range(23, 13, -1))
    assert snapshot.ports_other == 13


def test_no_part_of_numpy_is_imported_only_when_it_is_needed() -> None:
    text = (
        "import sys; from tests.unit.model.dumps import dump, sockets; from tracer.model.sockets import Summarizer;"
        "summarize, before = Summarizer(), set(sys.modules);"
        "parts = [sockets('time_wait', '[fd23::1]:50000', f'[fd23::{i}]:50000', i) for i in range(1, 24)];"
        "summarize(dump(*parts, sockets('time_wait'))); print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"


# what stands between the prefix of a link-local one and its host is its interface
addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6).filter(lambda found: not found.is_link_local)).map(str)
endpoints = st.tuples(addresses, st.integers(1, 65535))


@given(st.lists(endpoints, min_size=1, max_size=30), st.integers(1, 40))
def test_endpoints_are_counted_as_a_dictionary_would(ends: list[tuple[str, int]], wanted: int) -> None:
    parts = [sockets("time_wait", "10.0.0.1:1", f"{address}:{port}") for address, port in ends]
    found = dump(*parts)
    at = columns(found.sockets, {OWN: 0})
    rows = dict(counted(at, services(at, np.zeros(len(ends), bool)), wanted))
    rest = rows.pop("other", 0)
    expected: dict[str, int] = {}
    for address, port in ends:
        plain = getattr(ip_address(address), "ipv4_mapped", None) or ip_address(address)
        name = f"{plain}:{port}" if plain.version == 4 else f"[{plain}]:{port}"
        expected[name] = expected.get(name, 0) + 1
    assert rows.items() <= expected.items()
    assert rest + sum(rows.values()) == len(ends)
    assert len(rows) == min(wanted, len(expected))
    assert sorted(rows.values()) == sorted(expected.values(), reverse=True)[: len(rows)][::-1]


@given(st.lists(st.integers(0, 5), max_size=40), st.integers(1, 12))
def test_the_largest_are_the_first_of_a_sort(counts: list[int], wanted: int) -> None:
    keys = np.arange(len(counts), dtype=np.uint64)
    expected = sorted(range(len(counts)), key=lambda i: (-counts[i], i))[:wanted]
    assert list(largest(keys, np.array(counts, np.intp), wanted)) == expected


def test_a_client_with_a_reserved_port_is_one_as_somebody_listens_on_the_other() -> None:
    ends = "127.0.0.1:800", "127.0.0.1:2049"
    found = roles(sockets("established", *ends), sockets("established", *ends[::-1]), sockets("listen", ends[1], "0.0.0.0:0"))
    assert found[:2] == ["client", "server"]


def test_who_listens_on_a_port_that_another_host_s_client_has_too_is_the_server_all_the_same() -> None:
    listeners = [sockets("listen", f"0.0.0.0:{port}", "0.0.0.0:0") for port in (800, 2049)]
    assert roles(sockets("established", "10.0.0.1:2049", "192.0.2.1:800"), *listeners)[0] == "server"
    found = roles(sockets("established", "10.0.0.1:2049", "10.0.0.1:800"), *listeners)
    assert found[0] == "client", "of two services of this host the smaller port is the service's"


def test_a_port_is_whose_its_latest_record_says() -> None:
    served, code = ServedPorts([OWN << 16 | 40000]), OWN << 16 | 41000
    served.note_records(events("close", role="server", port=41000, netns=OWN))
    assert served.codes.tolist() == [OWN << 16 | 40000, code]
    served.note_records(events("handshake", local_port=41000, netns=OWN))
    assert served.codes.tolist() == [OWN << 16 | 40000]
    served.note_records(events("close", local_port=40000, netns=OWN))
    assert served.codes.tolist() == [OWN << 16 | 40000], "the end of a client of before says nothing new"


def test_a_listener_that_is_gone_is_remembered() -> None:
    served = ServedPorts()
    client, server = sockets("time_wait", "127.0.0.1:800", "127.0.0.1:2049"), sockets("listen", "127.0.0.1:2049", "0.0.0.0:0")
    assert summed(dump(client, server), served=served).time_wait == (("127.0.0.1:2049", 1),)
    assert summed(dump(sockets("established", "127.0.0.1:2049", "127.0.0.1:800")), served=served).open is None
    assert codes_of(np.array([OWN], np.uint32), np.array([2049], np.uint16)) in served.codes


def test_namespaces_without_a_number_may_use_ports_to_the_same_destination() -> None:
    summarize = Summarizer()
    both = {OWN: PORTS, OTHER_NETNS: PORTS, OTHER_NETNS + 1: PORTS}
    found = [
        summarize(
            replace(
                dump(*(sockets("established", n=n, netns=OTHER_NETNS + at) for at in (0, 1)), ports=both, end_ns=n * SECOND),
                unnamed=frozenset({OTHER_NETNS, OTHER_NETNS + 1}),
            )
        ).ports
        for n in (5_000, 6_000, 7_000)
    ]
    assert [[(use.netns, use.used, use.forecast_seconds) for use in uses] for uses in found] == [
        [(None, n, None)] * 2 for n in (5_000, 6_000, 7_000)
    ]
