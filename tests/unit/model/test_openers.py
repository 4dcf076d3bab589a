"""Whose an open connection is, by the records of a recording: the process of the last beginning, unless it has ended."""

from __future__ import annotations

import pytest

from tests.unit.addresses import column
from tests.unit.ingest.openconnections import open_rows
from tests.unit.model.builder import SECOND, events
from tests.unit.model.dumps import OWN
from tracer.ingest.decode import Events
from tracer.ingest.owners import Owner
from tracer.model.openers import Openers

LOCAL = column("10.0.0.1")
CURL = Owner(23, "curl")


def records(kind: str, time_ns: int, pid: int = 23, process: bytes = b"curl", netns: int = OWN) -> Events:
    return events(kind, local_port=40_001, local_address=LOCAL, netns=netns, time_ns=time_ns, pid=pid, process=process)


def owners(*batches: Events) -> dict[int, Owner]:
    openers = Openers()
    for batch in batches:
        openers.add(batch)
    return openers.owners(open_rows(3))


def test_it_is_whose_began_it() -> None:
    assert owners(records("handshake", 5)) == {1001: CURL}


def test_of_several_connections_between_the_same_ends_the_last_one_is_open() -> None:
    first, between = records("handshake", 5, pid=1, process=b"wget"), records("close", 6, pid=1)
    assert owners(first, between, records("handshake", 7)) == {1001: CURL}


@pytest.mark.parametrize(
    "batches",
    [
        (),
        (records("handshake", 5), records("close", 6)),
        (records("handshake", 5, pid=0),),
        (records("handshake", SECOND + 1),),
        (records("handshake", 5, netns=OWN + 1),),
        (records("state", 5),),
    ],
)
def test_where_no_record_tells_it_is_nobodys(batches: tuple[Events, ...]) -> None:
    assert owners(*batches) == {}
