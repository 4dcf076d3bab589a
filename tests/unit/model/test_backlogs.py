"""Listeners by port and process, with drops that only rise."""

from __future__ import annotations

from tests.unit.model.builder import SECOND, events
from tracer.ingest.snapshot import ListenQueue, Moment, Snapshot
from tracer.model.backlogs import MOST, Backlogs, Listener

NETNS = 7


def dump(*queues: ListenQueue, at: int) -> Snapshot:
    return Snapshot(time_ns=at * SECOND, moments=(Moment(NETNS, 0, 0),), queues=queues)


def queue(drops: int | None = 0, *, port: int = 80, cookie: int = 1, waiting: int = 0, limit: int = 128) -> ListenQueue:
    return ListenQueue(NETNS, port, cookie, waiting, limit, drops)


def drops(backlogs: Backlogs) -> int | None:
    (row,) = backlogs.rows()
    return row.drops


def test_drops_count_from_the_first_dump_on_and_those_of_a_new_listener_from_its_start() -> None:
    backlogs = Backlogs()
    found = []
    for at, queues in enumerate(([queue(100)], [queue(103)], [queue(103)], [], [queue(5, cookie=2)]), 1):
        backlogs.add_snapshot(dump(*queues, at=at))
        found.append(drops(backlogs))
    assert found == [0, 3, 3, 3, 8]


def test_who_serves_is_known_from_handshakes_unless_there_are_several() -> None:
    backlogs = Backlogs()
    backlogs.note(events("handshake", 2, role="server", port=80, netns=NETNS, process=b"nginx"))
    backlogs.note(events("handshake", 2, role="client", port=443, netns=NETNS, process=b"curl"))
    for name in (b"a", b"b"):
        backlogs.note(events("handshake", role="server", port=81, netns=NETNS, process=name))
    backlogs.add_snapshot(dump(queue(), queue(port=81, cookie=2), queue(port=443, cookie=3), at=1))
    assert [(row.port, row.process) for row in backlogs.rows()] == [("80", "nginx"), ("81", ""), ("443", "")]


def test_of_several_sockets_the_fullest_is_shown() -> None:
    backlogs = Backlogs()
    backlogs.add_snapshot(dump(queue(waiting=5), queue(1, cookie=2, waiting=3, limit=4), at=1))
    assert backlogs.rows() == (Listener("80", "", 3, 4, 0),)


def test_what_the_kernel_does_not_tell_is_not_known() -> None:
    backlogs = Backlogs()
    backlogs.add_snapshot(dump(queue(None), at=1))
    assert drops(backlogs) is None


def test_more_listeners_than_there_is_room_for_are_one() -> None:
    backlogs = Backlogs()
    backlogs.add_snapshot(dump(at=1))
    backlogs.add_snapshot(dump(*(queue(1, port=1000 + n, cookie=n) for n in range(MOST + 5)), at=2))
    found = {row.port: row.drops for row in backlogs.rows()}
    assert (len(found), found["other"]) == (MOST + 1, 5)
