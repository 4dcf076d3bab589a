from __future__ import annotations

import os
import socket

from tests.unit.model.builder import events
from tracer.ingest.links import connection_lines, interface_names
from tracer.ingest.residents import identity_of


def test_the_names_of_a_process_are_those_of_its_namespace_or_none_at_all() -> None:
    pid = os.getpid()
    identity = identity_of(pid)
    assert identity is not None
    names = interface_names(pid, identity)
    assert names == {index: name for index, name in socket.if_nameindex() if index in names}
    assert interface_names(pid, identity + 1) == interface_names(2**22 + 1, identity) == {}


def test_a_connection_stands_in_a_table_as_the_kernel_writes_it() -> None:
    event = events("handshake", port=443)
    for side in ("local", "remote"):
        event[f"{side}_address"][:] = list(b"\xfe\x80\0\0\0\0\0\7" + bytes(7) + b"\1")
    assert connection_lines(event) == [b"000080FE000000000000000001000000:C3CB 000080FE000000000000000001000000:01BB "]
    assert connection_lines(events("handshake")) == []
