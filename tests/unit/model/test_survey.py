from __future__ import annotations

from tests.unit.model.dumps import OWN, dump, sockets
from tracer.ingest.owners import Owner
from tracer.ingest.snapshot import Dump
from tracer.model.survey import HALF_CLOSED_BITS, HalfClosed, Survey, survey, wanted_inodes

LEAKY = Owner(4242, "leaky")


def surveyed(found: Dump, ports: tuple[int, ...] = ()) -> Survey:
    return survey(found, ports=ports, owners={5: LEAKY, 6: LEAKY}, heard={5: 23.5, 6: 7.0}, hidden=3, wanted=10)


def test_close_wait_is_named_by_process_with_its_count_and_the_oldest_age() -> None:
    found = surveyed(dump(sockets("close_wait", inode=5), sockets("close_wait", inode=6), sockets("close_wait", inode=7)))
    assert found.half_closed == (
        HalfClosed("close_wait", "leaky", 4242, 2, 23.5),
        HalfClosed("close_wait", "(unknown)", 0, 1, None),
    )


def test_sockets_without_a_process_say_why() -> None:
    found = surveyed(
        dump(
            sockets("close_wait", n=2, inode=0),
            sockets("fin_wait2", n=3, inode=0, timer=2),
            sockets("fin_wait2", n=5, inode=0, timer=3),
            sockets("fin_wait2", inode=6),
        )
    )
    assert [(row.state, row.process, row.count) for row in found.half_closed] == [
        ("close_wait", "(not accepted)", 2),
        ("fin_wait2", "(orphan, timed)", 5),
        ("fin_wait2", "(orphan)", 3),
        ("fin_wait2", "leaky", 1),
    ]


def test_only_half_closed_sockets_have_their_owners_looked_up() -> None:
    found = dump(sockets("close_wait", inode=5), sockets("fin_wait2", inode=0), sockets("established", inode=6))
    assert wanted_inodes(found.sockets) == {5}
    assert HALF_CLOSED_BITS == 1 << 8 | 1 << 5


def test_listeners_come_with_their_backlogs_the_fullest_first() -> None:
    found = surveyed(
        dump(
            sockets("listen", "0.0.0.0:80", "0.0.0.0:0", rqueue=1, wqueue=4096),
            sockets("listen", "[::]:443", "[::]:0", rqueue=120, wqueue=128),
        )
    )
    assert [(row.endpoint, row.used, row.limit) for row in found.listeners] == [("[::]:443", 120, 128), ("0.0.0.0:80", 1, 4096)]


def test_time_wait_is_told_apart_by_side() -> None:
    found = surveyed(dump(sockets("time_wait", n=3), sockets("time_wait", "10.0.0.1:80", "198.51.100.7:51000")))
    assert (found.clients, found.servers) == ((("192.0.2.1:443", 3),), (("10.0.0.1:80", 1),))
    assert (found.own_netns, found.owners_hidden) == (OWN, 3)


def test_a_port_chooses_the_sockets_of_its_service_only() -> None:
    found = surveyed(
        dump(
            sockets("listen", "0.0.0.0:443", "0.0.0.0:0"),
            sockets("listen", "0.0.0.0:80", "0.0.0.0:0"),
            sockets("time_wait", n=3),
            sockets("time_wait", remote="192.0.2.1:80", n=5),
            sockets("close_wait", remote="192.0.2.1:80", inode=5),
            sockets("established", "10.0.0.1:40500", "192.0.2.1:443"),
        ),
        ports=(443,),
    )
    assert {state: count for state, count in found.snapshot.states.items() if count} == {
        "established": 1,
        "time_wait": 3,
        "listen": 1,
    }
    assert [row.endpoint for row in found.listeners] == ["0.0.0.0:443"]
    assert found.clients == (("192.0.2.1:443", 3),)
    assert [(use.destination, use.used) for use in found.snapshot.ports] == [("192.0.2.1:443", 4)]
    assert found.half_closed == ()
