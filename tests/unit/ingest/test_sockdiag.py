from __future__ import annotations

import struct
from ipaddress import IPv6Address, ip_address

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tests.unit.ingest.netlink import INFO, diag, done, failure, message
from tracer.ingest.sockdiag import (
    ALL_STATES,
    SOCKET,
    Reply,
    SocketEnds,
    Sockets,
    joined,
    last_heard,
    normalize,
    parse_reply,
    request,
    request_one,
)


def parsed(*parts: bytes, sequence: int = 1) -> Reply:
    return parse_reply(memoryview(b"".join(parts)), sequence)


def ports(sockets: Sockets) -> list[int]:
    return list(sockets["local_port"])


def tagged(number: int, attributes: bytes = b"") -> bytes:
    return message(body=diag(ports=(number, 443), attributes=attributes))


def test_a_request_is_what_the_kernel_calls_inet_diag_req_and_asks_for_both_families() -> None:
    assert request(ALL_STATES, 7) == struct.pack("=IHHIIBBBB48xII", 76, 18, 0x301, 7, 0, 0, 0, 0, 0, 0x3FFE, 0)


@pytest.mark.parametrize(("family", "here", "there"), [(2, "10.0.0.1", "10.0.0.2"), (10, "fd23::1", "fd23::2")])
def test_a_request_for_one_socket_names_its_ends_in_its_family(family: int, here: str, there: str) -> None:
    mapped = [ip_address(f"::ffff:{address}" if family == 2 else address).packed for address in (here, there)]
    sent = request_one(family, SocketEnds(mapped[0], 50123, mapped[1], 443), 7)
    assert sent[:24] == struct.pack("=IHHIIBBBxI", 72, 20, 1, 7, 0, family, 6, 0, 0x3FFE)
    assert sent[24:28] == struct.pack(">HH", 50123, 443)
    assert sent[28:60] == ip_address(here).packed.ljust(16, b"\0") + ip_address(there).packed.ljust(16, b"\0")
    assert sent[60:] == bytes(4) + b"\xff" * 8


def test_a_socket_takes_as_much_as_inet_diag_msg() -> None:
    assert SOCKET.itemsize == 72


def test_every_column_of_a_socket_is_read() -> None:
    body = diag("10.0.0.1", "10.0.0.2", state=8, timer=2, expires_ms=7, queues=(1, 2), uid=1000, inode=4242)
    (found,) = normalize(parsed(message(body=body)).sockets, 4026531833)
    assert (found["family"], found["state"], found["timer"], found["expires_ms"]) == (4, 8, 2, 7)
    assert (found["local_port"], found["remote_port"]) == (50123, 443)
    assert (found["rqueue"], found["wqueue"], found["uid"], found["inode"]) == (1, 2, 1000, 4242)
    assert str(IPv6Address(found["local_address"].tobytes()).ipv4_mapped) == "10.0.0.1"
    assert str(IPv6Address(found["remote_address"].tobytes()).ipv4_mapped) == "10.0.0.2"
    assert found["netns"] == 4026531833


@pytest.mark.parametrize("attributes", [b"", INFO, INFO * 5], ids=["bare", "with one attribute", "with five"])
def test_messages_of_one_length_are_one_array(attributes: bytes) -> None:
    reply = parsed(*(tagged(n, attributes) for n in range(1, 24)))
    assert ports(reply.sockets) == list(range(1, 24))
    assert not reply.done


def test_messages_of_different_lengths_are_all_found_in_their_order() -> None:
    reply = parsed(*(tagged(n, INFO * (n % 3)) for n in range(1, 24)), done())
    assert ports(reply.sockets) == list(range(1, 24))
    assert reply.done


def test_a_length_that_is_no_multiple_of_four_is_padded() -> None:
    body = diag(ports=(1, 443)) + struct.pack("=HHB", 5, 8, 1)
    assert ports(parsed(message(body=body), tagged(2)).sockets) == [1, 2]
    assert ports(parsed(message(body=body), message(body=body)).sockets) == [1, 1]


def test_a_dump_ends_with_its_last_message_and_may_have_no_socket() -> None:
    assert parsed(done()).done
    assert len(parsed(done()).sockets) == 0
    assert parsed(tagged(1), done()).done


def test_the_result_does_not_change_when_the_buffer_is_used_again() -> None:
    buffer = bytearray(tagged(1) * 23)
    sockets = parse_reply(memoryview(buffer), 1).sockets
    buffer[:] = bytes(len(buffer))
    assert ports(sockets) == [1] * 23


def test_an_interrupted_dump_says_so_wherever_it_stands() -> None:
    marked = message(body=diag(), flags=0x12)
    assert parsed(tagged(1), marked).interrupted
    assert parsed(tagged(1, INFO), marked).interrupted
    assert parsed(done(flags=0x12)).interrupted
    assert not parsed(tagged(1), done()).interrupted


def test_an_overrun_counts_as_an_interruption() -> None:
    assert parsed(message(4), done()).interrupted


def test_a_message_without_meaning_is_passed_over() -> None:
    assert ports(parsed(message(1), tagged(1), done()).sockets) == [1]


def test_an_error_ends_the_dump_with_its_number() -> None:
    assert (parsed(failure(2)).error, parsed(failure(2)).done) == (2, True)
    assert parsed(done(error=13)).error == 13
    assert parsed(message(3)).error == 0


def test_answers_to_an_earlier_request_are_passed_over() -> None:
    old = message(body=diag(ports=(9, 9)), sequence=6)
    reply = parsed(old, old, done(sequence=6), message(body=diag(), sequence=7), sequence=7)
    assert ports(reply.sockets) == [50123]
    assert not reply.done
    assert len(parsed(old, old, sequence=7).sockets) == 0


@pytest.mark.parametrize(
    "data",
    [
        message(body=diag(), length=0),
        message(body=diag(), length=3),
        message(body=diag(), length=15),
        message(body=diag(), length=89),
        message(body=diag(), length=2**32 - 1),
        tagged(1) + message(body=diag(), length=0),
        tagged(1) + tagged(2)[:-1],
        tagged(1) + b"\0",
        tagged(1)[:15],
        message(body=diag()[:-1]),
        message(body=b""),
        message(99, diag()),
    ],
)
def test_what_is_no_reply_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="bytes"):
        parsed(data)


@given(st.binary(max_size=400))
def test_no_bytes_do_harm(data: bytes) -> None:
    try:
        reply = parsed(data)
    except ValueError:
        return
    assert reply.sockets.dtype == SOCKET


@given(st.data())
def test_no_single_damage_does_harm(data: st.DataObject) -> None:
    whole = bytearray(b"".join(tagged(n, INFO * (n % 2)) for n in range(5)) + done())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    try:
        reply = parsed(bytes(whole[:cut]))
        list(last_heard(memoryview(whole[:cut]), 1))
    except ValueError:
        return
    assert len(reply.sockets) <= 5


@given(st.lists(st.integers(0, 4), max_size=60))
def test_strides_and_walks_find_the_same(sizes: list[int]) -> None:
    reply = parsed(*(tagged(n + 1, INFO * size) for n, size in enumerate(sizes)))
    assert ports(reply.sockets) == list(range(1, len(sizes) + 1))


def test_addresses_of_both_families_have_one_form() -> None:
    bodies = (diag("127.0.0.1"), diag("::1", "fd23::1"), diag("::ffff:10.0.0.1", "::ffff:10.0.0.2"), diag("::", "::", state=10))
    sockets = normalize(parsed(*(message(body=body) for body in bodies)).sockets, 1)
    assert list(sockets["family"]) == [4, 6, 4, 6]
    assert [str(IPv6Address(a.tobytes())) for a in sockets["local_address"]] == [
        str(IPv6Address("::ffff:127.0.0.1")),
        "::1",
        str(IPv6Address("::ffff:10.0.0.1")),
        "::",
    ]


def test_a_reply_of_ipv4_alone_has_the_same_form_as_a_mixed_one() -> None:
    four = normalize(parsed(tagged(1), tagged(2)).sockets, 1)
    mixed = normalize(parsed(tagged(1), tagged(2), message(body=diag("::1", "::1"))).sockets, 1)
    assert four.tobytes() == mixed[:2].tobytes()


def test_arrays_are_joined_in_their_order_and_nothing_gives_nothing() -> None:
    one, two = parsed(tagged(1)).sockets, parsed(tagged(2), tagged(3)).sockets
    assert ports(joined([one, two])) == [1, 2, 3]
    assert joined([]).shape == (0,)
    assert joined([]).dtype == SOCKET


def attribute(kind: int, payload: bytes, size: int | None = None) -> bytes:
    claimed = 4 + len(payload) if size is None else size
    return struct.pack("=HH", claimed, kind) + payload + bytes(-len(payload) % 4)


def test_the_time_since_the_peer_was_heard_comes_from_tcp_info() -> None:
    info = bytes(56) + struct.pack("=I", 23_500) + bytes(180)
    with_info = message(body=diag(inode=5, attributes=INFO + attribute(2, info)))
    without = message(body=diag(inode=6, attributes=INFO))
    assert dict(last_heard(memoryview(with_info + without), 1)) == {5: 23.5}


@pytest.mark.parametrize("size", [0, 3, 63, 4000])
def test_a_damaged_attribute_tells_nothing(size: int) -> None:
    data = message(body=diag(inode=5, attributes=attribute(2, bytes(57), size)))
    assert dict(last_heard(memoryview(data), 1)) == {}


def test_a_big_reply_is_one_view_of_each_message() -> None:
    count = 11_000
    sockets = parsed(tagged(7) * count).sockets
    assert sockets.shape == (count,)
    assert np.all(sockets["local_port"] == 7)
