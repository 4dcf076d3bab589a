"""struct tcp_info and its neighbours out of replies whose messages differ."""

from __future__ import annotations

import struct

import numpy as np

from tests.unit.ingest.netlink import INFO as TOS, diag, message
from tracer.ingest.sockdiag import parse_reply
from tracer.ingest.tcpinfo import DETAIL, INFO, Details, details, joined_details


def attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def info(rtt_us: int, more: int = 16) -> bytes:
    """Return INET_DIAG_INFO of a kernel that knows `more` bytes beyond ours."""
    found = np.zeros(1, INFO)
    found["rtt_us"], found["send_window"] = rtt_us, 23
    return attribute(2, found.tobytes() + bytes(more))


def memory(drops: int) -> bytes:
    return attribute(7, struct.pack("=9I", 1, 131072, 3, 16384, 0, 0, 0, 0, drops))


def read(*messages: bytes) -> Details:
    reply = memoryview(b"".join(messages))
    found = parse_reply(reply, 1)
    return details(reply, found.offsets, found.lengths)


def test_messages_of_one_kind_have_their_details_in_their_order() -> None:
    found = read(*(message(body=diag(state=1, timer=0, attributes=TOS + info(n) + memory(n + 1))) for n in range(5)))
    assert found["info"]["rtt_us"].tolist() == [0, 1, 2, 3, 4]
    assert found["drops"].tolist() == [1, 2, 3, 4, 5]
    assert set(found["receive_buffer"].tolist()) == {131072}
    assert set(found["send_buffer"].tolist()) == {16384}


def test_messages_that_differ_are_told_apart_and_timewait_objects_have_none() -> None:
    cgroup = attribute(21, struct.pack("=Q", 77))
    found = read(
        message(body=diag()),
        message(body=diag(state=1, timer=0, attributes=info(10) + cgroup)),
        message(body=diag(state=1, timer=0, attributes=cgroup + info(11))),
        message(body=diag()),
        message(body=diag(state=1, timer=0, attributes=TOS + info(12))),
    )
    assert found["place"].tolist() == [1, 2, 4]
    assert found["info"]["rtt_us"].tolist() == [10, 11, 12]
    assert found["cgroup"].tolist() == [77, 77, 0]


def test_a_struct_that_is_too_short_and_a_damaged_attribute_are_passed_over() -> None:
    short = attribute(2, bytes(INFO.itemsize - 8)) + bytes(64)
    beyond = struct.pack("=HH", 4000, 2) + bytes(INFO.itemsize)
    assert len(read(*(message(body=diag(state=1, attributes=each)) for each in (short, beyond)))) == 0


def test_places_go_on_from_one_reply_to_the_next() -> None:
    parts = [np.zeros(2, DETAIL), np.zeros(1, DETAIL)]
    parts[0]["place"] = [0, 3]
    assert joined_details([(0, parts[0]), (5, parts[1])])["place"].tolist() == [0, 3, 5]
