from __future__ import annotations

import numpy as np

from tests.unit.model.builder import events
from tests.unit.model.dumps import OTHER_NETNS, OWN, sockets
from tracer.ingest.numbers import CONNECTIONS, MAX_NAMESPACES, Numbers

HERE = sockets("established", "10.0.0.1:50123", "192.0.2.1:443")


def numbers() -> Numbers:
    found = Numbers()
    found.listed = np.array([OWN], np.uint32)
    return found


def of_here(netns: int, **columns: object) -> np.ndarray:
    address = list(bytes(10) + b"\xff\xff\x0a\0\0\1")
    return events("handshake", netns=netns, local_address=address, **columns)  # type: ignore[arg-type]


def test_a_namespace_is_that_of_a_record_with_the_ends_of_one_of_its_sockets() -> None:
    found = numbers()
    found.note_records(of_here(OTHER_NETNS))
    assert found.find(sockets("established", "10.0.0.9:50123", "192.0.2.1:443")) is None
    assert found.find(HERE) == OTHER_NETNS
    assert found.find(HERE) is None, "a number is given once"


def test_records_of_namespaces_that_are_listed_tell_nothing() -> None:
    found = numbers()
    found.note_records(of_here(OWN))
    assert found.find(HERE) is None


def test_of_several_with_the_same_ends_it_is_that_with_most() -> None:
    found = numbers()
    found.note_records(of_here(OTHER_NETNS))
    found.note_records(of_here(OTHER_NETNS + 1))
    found.note_records(of_here(OTHER_NETNS + 1, port=80))
    both = np.concatenate((HERE, sockets("established", "10.0.0.1:50123", "192.0.2.1:80")))
    assert found.find(both) == OTHER_NETNS + 1


def test_the_latest_connections_of_the_latest_namespaces_are_kept() -> None:
    found = numbers()
    found.note_records(of_here(1))
    for i in range(CONNECTIONS):
        found.note_records(of_here(1, port=1000 + i))
    assert found.find(HERE) is None
    found.note_records(of_here(2))
    for i in range(MAX_NAMESPACES):
        found.note_records(of_here(10 + i, port=80))
    assert found.find(HERE) is None
