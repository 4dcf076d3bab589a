from __future__ import annotations

from dataclasses import replace

from tests.unit.model.builder import CONTEXT, SECOND, events, reading
from tests.unit.model.dumps import OTHER_NETNS, OWN
from tracer.ingest.decode import Events
from tracer.ingest.snapshot import PortUse, Snapshot
from tracer.model.totals import Model
from tracer.model.unlisted import LARGEST, MAX_PLACES, EventSockets

BEGAN = {"state_ns": {"syn_sent": 5}}
DESTINATION = "192.0.2.1:443"


def told(*batches: Events, at: int = 2 * SECOND, listed: tuple[int, ...] = (OWN,)) -> EventSockets:
    """Return what a model tells of the namespaces that are not listed, at a time in nanoseconds."""
    model = Model(CONTEXT)
    model.add(reading(time_ns=1, snapshot=Snapshot(time_ns=1, namespaces=(OWN,))))
    for batch in batches:
        model.add(reading(batch, time_ns=int(batch["time_ns"][-1])))
    model.add(reading(time_ns=at, snapshot=Snapshot(time_ns=at, namespaces=listed)))
    return model.report().unlisted


def opened(n: int, netns: int = OTHER_NETNS, **columns: object) -> Events:
    return events("handshake", n, netns=netns, time_ns=SECOND, **columns)  # type: ignore[arg-type]


def closed(n: int, netns: int = OTHER_NETNS, flags: tuple[str, ...] = ("time_wait",), **columns: object) -> Events:
    columns = {"time_ns": SECOND, **columns}
    return events("close", n, netns=netns, flags=flags, from_state="fin_wait2", **BEGAN, **columns)  # type: ignore[arg-type]


def use(used: int) -> PortUse:
    return PortUse(OTHER_NETNS, "::", DESTINATION, used, None, seen="events")


def test_ports_are_those_of_open_connections_and_of_what_they_left() -> None:
    assert told(opened(23), closed(7)) == EventSockets((OTHER_NETNS,), ((DESTINATION, 7),), (use(23),))
    assert told(opened(23), closed(7, flags=())) == EventSockets((OTHER_NETNS,), (), (use(16),))


def test_what_a_close_has_left_is_gone_after_a_minute_and_a_namespace_without_anything_too() -> None:
    assert told(opened(7), closed(7), at=61 * SECOND).time_wait == ((DESTINATION, 7),)
    assert told(opened(7), closed(7), at=63 * SECOND) == EventSockets()


def test_of_addresses_with_equally_many_ports_the_first_is_told_whatever_came_first() -> None:
    each = [opened(5, local_address=list(bytes(10) + b"\xff\xff\x0a\0\0" + bytes([last]))) for last in (1, 2, 3)]
    (one,) = told(each[2], each[0], each[1]).ports
    assert (one.local_address, one.used) == ("10.0.0.1", 5)


def test_a_server_s_timewait_objects_are_by_its_address_and_use_no_port() -> None:
    found = told(closed(5, role="server", port=80, local_address=list(bytes(10) + b"\xff\xff\x0a\0\0\1")))
    assert found == EventSockets((OTHER_NETNS,), (("10.0.0.1:80", 5),))


def test_of_a_namespace_that_is_listed_by_now_nothing_is_told() -> None:
    assert told(opened(23), closed(7), opened(5, OWN), listed=(OWN, OTHER_NETNS)) == EventSockets()


def test_a_namespace_that_is_listed_for_a_moment_has_lost_nothing_afterwards_and_for_a_minute_it_is_forgotten() -> None:
    model = Model(CONTEXT)
    for seconds, listed in ((1, (OWN,)), (3, (OWN, OTHER_NETNS)), (30, (OWN,)), (40, (OWN, OTHER_NETNS)), (101, (OWN,))):
        at = seconds * SECOND
        batches = [opened(5)] if seconds in {1, 3} else []
        model.add(reading(*batches, time_ns=at, snapshot=Snapshot(time_ns=at, namespaces=listed)))
        if seconds == 30:
            assert model.report().unlisted.ports == (use(10),)
    assert model.report().unlisted.ports == (use(10),), "for not quite a minute"
    at = 102 * SECOND
    model.add(reading(time_ns=at, snapshot=Snapshot(time_ns=at, namespaces=(OWN, OTHER_NETNS))))
    model.add(reading(time_ns=at, snapshot=Snapshot(time_ns=163 * SECOND, namespaces=(OWN, OTHER_NETNS))))
    model.add(reading(time_ns=at, snapshot=Snapshot(time_ns=164 * SECOND, namespaces=(OWN,))))
    assert model.report().unlisted == EventSockets()


def test_connections_of_before_the_tracing_are_not_taken_off_when_they_close() -> None:
    old = events("close", 9, netns=OTHER_NETNS, time_ns=SECOND, flags=("partial",), from_state="last_ack")
    assert told(opened(23), old).ports == (use(23),)


def test_of_many_destinations_the_largest_are_told_and_the_rest_is_other() -> None:
    batches = [closed(n, peer=f"192.0.2.{n}") for n in range(1, 24)]
    found = told(*batches)
    assert found.time_wait[0] == ("192.0.2.23:443", 23)
    assert (len(found.time_wait), found.time_wait[-1]) == (LARGEST + 1, ("other", sum(range(1, 14))))
    assert (len(found.ports), found.ports_other) == (LARGEST, 13)


def test_more_destinations_than_are_remembered_count_together() -> None:
    batch = closed(MAX_PLACES + 23)
    batch["remote_address"][:, 12:] = [list(i.to_bytes(4, "big")) for i in range(len(batch))]
    found = told(batch)
    assert sum(count for _, count in found.time_wait) == MAX_PLACES + 23
    assert found.ports_other == 23


def test_without_a_snapshot_it_is_not_known_what_is_listed() -> None:
    model = Model(CONTEXT)
    model.add(reading(opened(23)))
    assert model.report().unlisted == EventSockets()
    assert replace(model.report(), snapshot=Snapshot()).places == Snapshot()
