from __future__ import annotations

import os
import socket
from pathlib import Path

from tracer.kernel.handles import MAX_NAMESPACES, NamespaceHandle, find_namespaces, open_handles
from tracer.kernel.handoff import MAX_DESCRIPTORS, Loaded, receive_loaded, send_loaded


def test_the_own_namespace_has_a_handle_without_any_privileges() -> None:
    (handle,) = open_handles(own_only=True)
    assert handle.netns == Path("/proc/self/ns/net").stat().st_ino
    assert handle.netns in find_namespaces()
    with socket.socket(fileno=os.dup(handle.diag)) as diag:
        assert diag.family == socket.AF_NETLINK
    assert len(os.pread(handle.port_range, 99, 0).split()) == 2
    assert os.pread(handle.reserved_ports, 99, 0).endswith(b"\n")
    handle.close()


def test_no_descriptor_is_passed_on_to_children() -> None:
    (handle,) = open_handles(own_only=True)
    assert not any(os.get_inheritable(fd) for fd in handle.descriptors)
    handle.close()


def test_as_many_doors_as_there_may_be_arrive_each_with_its_own_descriptors() -> None:
    assert 3 * MAX_NAMESPACES + 32 <= MAX_DESCRIPTORS
    read, write = os.pipe()
    files = [os.open("/proc/self/stat", os.O_RDONLY) for _ in range(3)]
    sent = tuple(NamespaceHandle(4026531840 + i, 4026541840 + i, f"/proc/{i}/ns/net", *files) for i in range(MAX_NAMESPACES))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        loaded = Loaded(read, write, {"p": (read, write)}, 1, 1, 1, "k", "b", (), held=(write,), handles=sent)
        send_loaded(theirs, loaded)
        received = receive_loaded(ours)
    kept = [(handle.netns, handle.identity, handle.path) for handle in received.handles]
    assert kept == [(handle.netns, handle.identity, handle.path) for handle in sent]
    numbers = [fd for handle in received.handles for fd in handle.descriptors]
    assert len(set(numbers)) == 3 * MAX_NAMESPACES
    assert all(os.pread(fd, 4, 0) for fd in numbers)
    for fd in (*numbers, *files, read, write, received.ring, received.counters, *received.programs["p"], *received.held):
        os.close(fd)
