"""A BPF program that hands data from socket to socket: what passes by TCP is in no count, and all else is as without it."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.kernel.net import Link
from tests.kernel.scene import ROLES, receive
from tests.kernel.test_special_sockets import (
    BPF_MAP_CREATE,
    BPF_MAP_TYPE_SOCKMAP,
    BPF_MAP_UPDATE_ELEM,
    bpf,
    check_bytes,
    close,
    pair,
)
from tests.kernel.until import until
from tests.kernel.watching import Watching

pytestmark = pytest.mark.needs("nft")

SIZE = 50_000
LATER = 1_234
TO = 1
"""The key of the socket that gets everything."""

BPF_MAP_DELETE_ELEM, BPF_PROG_LOAD, BPF_PROG_ATTACH = 3, 5, 8
BPF_PROG_TYPE_SK_MSG, BPF_SK_MSG_VERDICT, BPF_FUNC_MSG_REDIRECT_MAP, BPF_F_INGRESS = 16, 7, 60, 1


def instruction(code: int, register: int = 0, value: int = 0, *, source: int = 0) -> bytes:
    return struct.pack("=BBhi", code, source << 4 | register, 0, value)


def redirecting(table: int) -> int:
    """Load a program that puts every message into the receive queue of the socket TO."""
    load_number, load_wide, call, leave = 0xB7, 0x18, 0x85, 0x95
    code = b"".join(
        [
            instruction(load_wide, 2, table, source=1) + instruction(0),
            instruction(load_number, 3, TO),
            instruction(load_number, 4, BPF_F_INGRESS),
            instruction(call, value=BPF_FUNC_MSG_REDIRECT_MAP),
            instruction(leave),
        ]
    )
    text, license_ = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
    count, places = len(code) // 8, (ctypes.addressof(text), ctypes.addressof(license_))
    attributes = struct.pack("=IIQQIIQII16sII", BPF_PROG_TYPE_SK_MSG, count, *places, 0, 0, 0, 0, 0, b"", 0, BPF_SK_MSG_VERDICT)
    return bpf(BPF_PROG_LOAD, attributes)


@contextmanager
def short_circuit(client: socket.socket, server: socket.socket) -> Iterator[int]:
    """Have what both ends send go straight into the server's receive queue; yield the sockmap that they are in."""
    table = bpf(BPF_MAP_CREATE, struct.pack("=5I", BPF_MAP_TYPE_SOCKMAP, 4, 4, 2, 0))
    program = redirecting(table)
    try:
        bpf(BPF_PROG_ATTACH, struct.pack("=4I", table, program, BPF_SK_MSG_VERDICT, 0))
        for key, end in enumerate((client, server)):
            words = ctypes.c_uint32(key), ctypes.c_uint32(end.fileno())
            bpf(BPF_MAP_UPDATE_ELEM, struct.pack("=IxxxxQQQ", table, *(ctypes.addressof(word) for word in words), 0))
        yield table
    finally:
        os.close(program)
        os.close(table)


def take_out(table: int) -> None:
    for key in map(ctypes.c_uint32, (0, TO)):
        bpf(BPF_MAP_DELETE_ELEM, struct.pack("=IxxxxQQQ", table, ctypes.addressof(key), 0, 0))


def test_what_passes_by_tcp_is_in_no_count_and_what_follows_is(watch: Watching, service: int, link: Link) -> None:
    with pair(link, service) as (client, server, client_port):
        with short_circuit(client, server) as table:
            client.sendall(bytes(SIZE))
            receive(server, SIZE)
            take_out(table)
        client.sendall(bytes(LATER))
        receive(server, LATER)
        close(client, server)
    check_bytes(watch, client_port, LATER, 0)


def test_a_close_with_such_data_unread_is_as_orderly_as_the_kernel_makes_it(watch: Watching, service: int, link: Link) -> None:
    """They are not in the queue that close() looks into: a FIN is sent, and no reset."""
    with pair(link, service) as (client, server, client_port), short_circuit(client, server):
        client.sendall(bytes(SIZE))
        server.close()
        assert client.recv(1) == b""
        client.close()
        until(lambda: all(watch.of(client_port, "close", role) for role in ROLES), "both have ended")
    check_bytes(watch, client_port, 0, 0)
    resets = [side.counters()["OutRsts"] for side in (link.client, link.server)]
    assert resets == [0, 0]
