from __future__ import annotations

import os
import socket
from pathlib import Path

from tracer.kernel.handoff import MAX_DESCRIPTORS, Loaded, receive_loaded, send_loaded
from tracer.kernel.namespaces import MAX_NAMESPACES, Door, find_namespaces, open_doors


def test_the_own_namespace_has_a_door_without_any_rights() -> None:
    (door,) = open_doors(own_only=True)
    assert door.netns == Path("/proc/self/ns/net").stat().st_ino
    assert door.netns in find_namespaces()
    with socket.socket(fileno=os.dup(door.diag)) as diag:
        assert diag.family == socket.AF_NETLINK
    assert len(os.pread(door.port_range, 99, 0).split()) == 2
    assert os.pread(door.reserved_ports, 99, 0).endswith(b"\n")
    door.close()


def test_no_descriptor_is_passed_on_to_children() -> None:
    (door,) = open_doors(own_only=True)
    assert not any(os.get_inheritable(fd) for fd in door.descriptors)
    door.close()


def test_as_many_doors_as_there_may_be_arrive_each_with_its_own_descriptors() -> None:
    assert 3 * MAX_NAMESPACES + 32 <= MAX_DESCRIPTORS
    read, write = os.pipe()
    files = [os.open("/proc/self/stat", os.O_RDONLY) for _ in range(3)]
    sent = tuple(Door(4026531840 + i, 4026541840 + i, f"/proc/{i}/ns/net", *files) for i in range(MAX_NAMESPACES))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        loaded = Loaded(read, write, {"p": (read, write)}, 1, 1, 1, "k", "b", (), held=(write,), doors=sent)
        send_loaded(theirs, loaded)
        received = receive_loaded(ours)
    kept = [(door.netns, door.identity, door.path) for door in received.doors]
    assert kept == [(door.netns, door.identity, door.path) for door in sent]
    numbers = [fd for door in received.doors for fd in door.descriptors]
    assert len(set(numbers)) == 3 * MAX_NAMESPACES
    assert all(os.pread(fd, 4, 0) for fd in numbers)
    for fd in (*numbers, *files, read, write, received.ring, received.counters, *received.programs["p"], *received.held):
        os.close(fd)
