"""Against a peer that answers as the kernel would, over a real socket pair, where the kernel itself cannot be made to."""

from __future__ import annotations

import errno
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address

import pytest

from tests.unit.ingest.netlink import INFO, diag, done, failure, message
from tracer.errors import TcptraceError
from tracer.ingest.sockdiag import SocketEnds, request_one
from tracer.ingest.sockettable import REPLY_BYTES, TRIES, SocketTable, TimeWait

Answer = Callable[[int, int, int], Sequence[bytes]]
"""From the number of the request, its sequence and its family to the replies."""


@contextmanager
def answering(answer: Answer) -> Iterator[tuple[SocketTable, list[bytes]]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * REPLY_BYTES)
    asked: list[bytes] = []

    def serve() -> None:
        while request := theirs.recv(4096):
            asked.append(request)
            sequence = struct.unpack_from("=I", request, 8)[0]
            for reply in answer(len(asked), sequence, request[16]):
                theirs.send(reply)

    thread = threading.Thread(target=serve)
    thread.start()
    table = SocketTable(ours.detach(), 23)
    try:
        yield table, asked
    finally:
        table.close()
        thread.join()
        theirs.close()


def one(sequence: int, port: int = 1, flags: int = 2) -> bytes:
    return message(body=diag(ports=(port, 443)), sequence=sequence, flags=flags)


def test_both_families_are_asked_for_at_once_and_their_sockets_are_one_array() -> None:
    def answer(_: int, sequence: int, __: int) -> list[bytes]:
        both = (message(body=diag(each, each), sequence=sequence) * 23 for each in ("127.0.0.1", "::1"))
        return [*both, done(sequence=sequence)]

    with answering(answer) as (table, asked):
        sockets = table.read()
    assert [request[16] for request in asked] == [socket.AF_UNSPEC]
    assert list(sockets["family"]) == [4] * 23 + [6] * 23
    assert set(sockets["netns"]) == {23}


def test_a_dump_that_was_interrupted_is_begun_anew() -> None:
    def answer(number: int, sequence: int, _: int) -> list[bytes]:
        return [one(sequence, port=number, flags=0x12 if number == 1 else 2), done(sequence=sequence)]

    with answering(answer) as (table, asked):
        assert list(table.read()["local_port"]) == [2]
        assert len(asked) == 2


def test_a_dump_that_is_always_interrupted_is_taken_as_it_is_after_some_tries() -> None:
    def answer(_: int, sequence: int, __: int) -> list[bytes]:
        return [one(sequence), done(sequence=sequence, flags=0x12)]

    with answering(answer) as (table, asked):
        assert len(table.read()) == 1
    assert len(asked) == TRIES


def test_what_is_left_of_an_earlier_answer_is_not_counted() -> None:
    def answer(_: int, sequence: int, __: int) -> list[bytes]:
        old = sequence + 1000
        return [one(old) * 5, done(sequence=old), one(sequence), done(sequence=sequence)]

    with answering(answer) as (table, _):
        assert len(table.read()) == 1


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (lambda sequence: failure(errno.ENOENT, sequence=sequence), "No such file or directory\nhint: load the module"),
        (lambda sequence: failure(errno.EPERM, sequence=sequence), "Operation not permitted"),
        (lambda sequence: done(errno.ENOMEM, sequence=sequence), "Cannot allocate memory"),
        (lambda sequence: one(sequence)[:50], "cannot read the kernel's answer about its sockets"),
        (lambda _: bytes(16), "cannot read the kernel's answer about its sockets"),
        (lambda sequence: one(sequence) * (REPLY_BYTES // 88 + 1), "cut off"),
    ],
)
def test_a_refusal_is_a_sentence(reply: Callable[[int], bytes], said: str) -> None:
    with answering(lambda _, sequence, __: [reply(sequence)]) as (table, _), pytest.raises(TcptraceError) as caught:
        table.read()
    assert said in str(caught.value)


def test_a_kernel_that_hangs_up_is_a_sentence() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.close()
    table = SocketTable(ours.detach(), 1)
    with pytest.raises(TcptraceError, match="does not list its sockets"):
        table.read()
    table.close()


ENDS = SocketEnds(ip_address("::ffff:10.0.0.1").packed, 50123, ip_address("::ffff:10.0.0.2").packed, 443)


@pytest.mark.parametrize("state", [6, 5], ids=["TIME_WAIT", "FIN_WAIT2"])
def test_one_timewait_object_is_asked_for_by_its_ends(state: int) -> None:
    body = diag("10.0.0.1", "10.0.0.2", state=state, expires_ms=12_345)
    with answering(lambda _, sequence, __: [message(body=body, sequence=sequence, flags=0)]) as (table, asked):
        assert table.time_wait(4, ENDS) == TimeWait(state, 12.345)
    (sent,) = asked
    assert sent == request_one(socket.AF_INET, ENDS, 1)


@pytest.mark.parametrize(
    "reply",
    [
        lambda sequence: failure(errno.ENOENT, sequence=sequence),
        lambda sequence: message(body=diag(state=10, timer=0), sequence=sequence, flags=0),
        lambda sequence: message(body=diag(state=1, timer=2), sequence=sequence, flags=0),
    ],
    ids=["nothing", "a listener", "a new connection"],
)
def test_where_there_is_no_timewait_object_there_is_none(reply: Callable[[int], bytes]) -> None:
    with answering(lambda _, sequence, __: [reply(sequence)]) as (table, _):
        assert table.time_wait(4, ENDS) is None


def test_a_refusal_of_one_socket_is_a_sentence() -> None:
    refused = pytest.raises(TcptraceError, match="does not list its sockets: Operation not permitted")
    with answering(lambda _, sequence, __: [failure(errno.EPERM, sequence=sequence)]) as (table, _), refused:
        table.time_wait(4, ENDS)


def test_the_time_since_a_peer_was_heard_is_known_by_inode() -> None:
    info = struct.pack("=HH", 64, 2) + bytes(56) + struct.pack("=I", 1500)

    def answer(number: int, sequence: int, _: int) -> list[bytes]:
        return [message(body=diag(inode=number, attributes=INFO + info), sequence=sequence), done(sequence=sequence)]

    with answering(answer) as (table, asked):
        assert table.read_last_heard(1 << 8) == {1: 1.5}
    assert [(request[19], *struct.unpack_from("=I", request, 68)) for request in asked] == [(2, 1 << 8)]
