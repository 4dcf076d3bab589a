"""Events as dictionaries and as lines of JSON: each kind with exactly its fields, and what is not known as null."""

from __future__ import annotations

import errno
import json
from typing import Any

import numpy as np
import pytest

from tests.unit.model.builder import SECOND, events
from tracer.ingest.decode import Events
from tracer.ingest.source import Context
from tracer.model.tcp import KINDS, STATE
from tracer.outputs.eventfields import EVENT_FIELDS
from tracer.outputs.jsonl import BY_KIND, FOLLOWED, describe, json_lines
from tracer.outputs.positionfields import BYTES, POSITION, WINDOWS

CONTEXT = Context(
    kernel="6.18.0",
    bcc="0.26.0",
    anchor_ns=1_795_379_000 * SECOND,
    netns=4026531840,
    reset_reasons={0: "not_specified", 8: "tcp_abort_on_data"},
)
LIFE = {"syn_sent": 1_020_000, "established": 3 * SECOND, "fin_wait1": 20_000, "fin_wait2": 30_000}


def address(text: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    batch = events("reset", peer=text)
    found: np.ndarray[Any, np.dtype[np.uint8]] = batch["remote_address"][0]
    return found


def sample(kind: str, **columns: Any) -> Events:
    """Return one record that a real kernel could have made, from 10.0.0.1 to 10.0.0.2."""
    common: dict[str, Any] = {"time_ns": 123_456_789, "family": 4, "local_address": address("10.0.0.1"), "peer": "10.0.0.2"}
    return events(kind, **(common | {"pid": 4711, "process": b"curl", "netns": 4026531840} | columns))


def one(batch: Events) -> dict[str, Any]:
    (event,) = describe(batch, CONTEXT)
    return event


def text(batch: Events) -> str:
    (line,) = json_lines(describe(batch, CONTEXT))
    return line


COMMON = (
    '"role":"client","family":4,"local_address":"10.0.0.1","local_port":50123,"remote_address":"10.0.0.2","remote_port":443,'
    '"pid":4711,"process":"curl","container":null,"netns":4026531840,"partial":false'
)


def start(kind: str) -> str:
    return f'{{"time":"2026-11-22T20:23:20.123456789Z","kind":"{kind}",{COMMON},'


def test_a_handshake_is_one_line_of_its_fields() -> None:
    batch = sample(
        "handshake", handshake_ns=1_020_000, srtt_us=1000, min_rtt_us=950, initial_sequence=7, peer_initial_sequence=9
    )
    assert text(batch) == start("handshake") + (
        '"handshake_seconds":0.00102,"fast_open":false,"retransmitted_segments":0,"srtt_seconds":0.001,'
        '"min_rtt_seconds":0.00095,"initial_sequence":7,"peer_initial_sequence":9}'
    )


def test_a_failure_is_one_line_of_its_fields() -> None:
    batch = sample(
        "failure",
        from_state="syn_sent",
        error=errno.ECONNREFUSED,
        duration_ns=42_000,
        sent_segments=1,
        received_segments=1,
        state_ns={"syn_sent": 42_000},
    )
    assert text(batch) == start("failure") + (
        '"reason":"refused","errno":111,"port_range":null,"duration_seconds":4.2e-05,"sent_segments":1,"received_segments":1,'
        '"retransmitted_segments":0,"states":{"syn_sent":4.2e-05},"from":"syn_sent"}'
    )


def test_a_close_is_one_line_of_its_fields() -> None:
    batch = sample(
        "close",
        from_state="fin_wait2",
        duration_ns=3_001_070_000,
        handshake_ns=1_020_000,
        sent_bytes=1000,
        received_bytes=2**40,
        unacknowledged_bytes=3,
        sent_segments=5,
        received_segments=7,
        retransmitted_segments=2,
        srtt_us=33,
        min_rtt_us=21,
        initial_sequence=1,
        peer_initial_sequence=2**32 - 1,
        state_ns=LIFE,
    )
    assert text(batch) == start("close") + (
        '"reason":"normal","errno":null,"closed_first":"local","reset_reason":null,"handshake_seconds":0.00102,'
        '"fast_open":false,"duration_seconds":3.00107,"sent_bytes":1000,"received_bytes":1099511627776,'
        '"unacknowledged_bytes":3,"sent_segments":5,"received_segments":7,"retransmitted_segments":2,"srtt_seconds":3.3e-05,'
        '"min_rtt_seconds":2.1e-05,"states":{"syn_sent":0.00102,"established":3.0,"fin_wait1":2e-05,"fin_wait2":3e-05},'
        '"initial_sequence":1,"peer_initial_sequence":4294967295,"from":"fin_wait2"}'
    )


def test_a_retransmission_is_one_line_of_its_fields() -> None:
    batch = sample("retransmit", retransmit_kind="timeout", segments=3, sequence=17, attempt=2, retransmitted_segments=5)
    assert text(batch) == start("retransmit") + (
        '"retransmit_kind":"timeout","segments":3,"sequence":17,"attempt":2,"failed":false,"errno":null,'
        '"retransmitted_segments":5}'
    )


def test_a_reset_is_one_line_of_its_fields() -> None:
    batch = sample("reset", flags=("reset_sent", "reset_reason"), reset_reason=8)
    assert text(batch) == start("reset") + '"direction":"sent","reset_reason":"tcp_abort_on_data"}'


def test_a_state_change_is_one_line_of_its_fields() -> None:
    batch = sample("state", from_state="syn_sent", to_state=STATE["established"], state_ns={"syn_sent": 1_020_000})
    batch["visited"] |= 1 << STATE["close"] | 1 << STATE["established"]
    assert text(batch) == start("state") + '"from":"syn_sent","to":"established","states":{"syn_sent":0.00102},"backlog":null}'


def test_only_a_listen_has_a_backlog_and_it_can_be_0() -> None:
    batch = sample("state", role="server", from_state="close", to_state=STATE["listen"], error=0)
    assert one(batch)["backlog"] == 0
    batch["to_state"] = STATE["syn_sent"]
    assert one(batch)["backlog"] is None


def followed(**columns: Any) -> dict[str, Any]:
    (event,) = describe(sample("state", **columns), CONTEXT, more=FOLLOWED)
    return event


def test_of_a_connection_that_is_only_begun_follow_has_no_numbers() -> None:
    for from_state, to_state in (("close", "listen"), ("close", "syn_sent"), ("listen", "syn_recv")):
        event = followed(from_state=from_state, to_state=STATE[to_state])
        assert {event[name] for name in (*POSITION, *WINDOWS, *BYTES, "initial_sequence", "peer_initial_sequence")} == {None}


def test_before_the_peers_syn_follow_has_our_numbers_alone() -> None:
    ours = {"initial_sequence": 1000, "send_unacknowledged": 1000, "send_next": 1001, "receive_window": 65535}
    event = followed(from_state="syn_sent", to_state=STATE["close"], congestion_window=10, **ours)
    assert {name: event[name] for name in (*ours, "congestion_window", "sent_bytes")} == {
        **ours,
        "congestion_window": 10,
        "sent_bytes": 0,
    }
    assert [event[name] for name in ("peer_initial_sequence", "receive_next", "send_window")] == [None] * 3


def test_a_listener_has_no_peer_and_no_port_that_the_kernel_has_not_chosen_yet() -> None:
    event = followed(role="server", from_state="close", to_state=STATE["listen"], local_port=0, remote_port=0)
    assert [event[name] for name in ("local_port", "remote_address", "remote_port")] == [None] * 3


def test_every_kind_that_the_kernel_side_knows_has_its_fields() -> None:
    assert tuple(BY_KIND) == KINDS[1:]
    assert {name for names in (*BY_KIND.values(), FOLLOWED) for name in names} == set(EVENT_FIELDS)


def test_events_of_all_kinds_come_in_the_order_of_the_batch() -> None:
    kinds = ["close", "handshake", "close", "reset", "state", "handshake"]
    batch = np.concatenate([sample(kind, netns=number) for number, kind in enumerate(kinds)])
    assert [(event["kind"], event["netns"]) for event in describe(batch, CONTEXT)] == [
        (kind, number) for number, kind in enumerate(kinds)
    ]


def test_an_empty_batch_is_no_line() -> None:
    assert describe(sample("close")[:0], CONTEXT) == []


@pytest.mark.parametrize(
    ("family", "given", "shown"),
    [
        (6, "2001:db8::1", "2001:db8::1"),
        (6, "::1", "::1"),
        (6, "::", "::"),
        (4, "::ffff:192.0.2.1", "192.0.2.1"),
        (4, "192.0.2.1", "192.0.2.1"),
        (4, "::", "0.0.0.0"),  # an IPv6 socket on its way to a mapped address, without an address of its own yet
    ],
)
def test_addresses_are_shown_as_people_write_them(family: int, given: str, shown: str) -> None:
    event = one(sample("reset", family=family, local_address=address(given), peer=given))
    assert (event["family"], event["local_address"], event["remote_address"]) == (family, shown, shown)


def test_what_the_kernel_does_not_know_is_null() -> None:
    event = one(sample("reset", role="unknown", pid=0, process=b""))
    assert (event["role"], event["pid"], event["process"], event["container"]) == (None, None, None, None)


@pytest.mark.parametrize("flags", [("handshake_unknown",), ("partial", "handshake_unknown"), ("partial",)])
def test_a_handshake_without_an_honest_time_has_none(flags: tuple[str, ...]) -> None:
    event = one(sample("handshake", handshake_ns=5, flags=flags))
    assert event["handshake_seconds"] is None
    assert event["partial"] is ("partial" in flags)


def test_a_partial_close_has_neither_duration_nor_times_in_states_nor_sequence_numbers() -> None:
    event = one(sample("close", flags=("partial", "handshake_unknown"), state_ns=LIFE, sent_bytes=23))
    assert [event[name] for name in ("duration_seconds", "handshake_seconds", "states")] == [None] * 3
    assert [event[name] for name in ("initial_sequence", "peer_initial_sequence")] == [None] * 2
    assert (event["partial"], event["sent_bytes"]) == (True, 23)


@pytest.mark.parametrize("us", [0, 2**32 - 1])
def test_a_round_trip_that_was_never_measured_is_null(us: int) -> None:
    event = one(sample("close", srtt_us=0, min_rtt_us=us))
    assert (event["srtt_seconds"], event["min_rtt_seconds"]) == (None, None)


def test_a_canceled_attempt_says_how_long_it_had_waited() -> None:
    event = one(sample("failure", from_state="syn_sent", duration_ns=1_500_000_000))
    assert (event["reason"], event["errno"], event["duration_seconds"]) == ("canceled", None, 1.5)


def test_a_failure_for_another_reason_keeps_its_errno() -> None:
    event = one(sample("failure", from_state="syn_sent", error=errno.EACCES))
    assert (event["reason"], event["errno"]) == ("other", errno.EACCES)


def test_an_attempt_without_a_port_has_none() -> None:
    event = one(sample("failure", from_state="syn_sent", flags=("no_syn", "no_port"), local_port=0))
    assert (event["reason"], event["local_port"]) == ("no_port", None)


def test_a_retransmission_that_never_left_says_why() -> None:
    event = one(sample("retransmit", retransmit_kind="syn", flags=("failed",), error=-errno.ENOBUFS))
    assert (event["failed"], event["errno"], event["retransmit_kind"]) == (True, errno.ENOBUFS, "syn")


def test_a_reset_that_was_received_has_no_reason() -> None:
    event = one(sample("reset", flags=("reset_received",)))
    assert (event["direction"], event["reset_reason"]) == ("received", None)


def test_a_reason_that_has_no_name_is_null() -> None:
    assert one(sample("reset", flags=("reset_sent", "reset_reason"), reset_reason=99))["reset_reason"] is None


@pytest.mark.parametrize(
    ("passed", "side"),
    [
        (("established", "fin_wait1", "fin_wait2"), "local"),
        (("established", "fin_wait1", "closing"), "both"),
        (("established", "close_wait", "last_ack"), "remote"),
        (("fin_wait2",), "local"),
        (("established",), None),
    ],
)
def test_who_closed_first_follows_from_the_states_passed_through(passed: tuple[str, ...], side: str | None) -> None:
    assert one(sample("close", state_ns=dict.fromkeys(passed, 1)))["closed_first"] == side


def test_fast_open_is_said() -> None:
    assert one(sample("handshake", flags=("fast_open",)))["fast_open"] is True


def test_a_container_has_its_name_and_one_without_a_cgroup_is_not_asked_for() -> None:
    batch = np.concatenate([sample("reset", cgroup=cgroup) for cgroup in (5, 6, 0)])
    names = {5: "f00dcafe0123", 6: ""}
    assert [event["container"] for event in describe(batch, CONTEXT, names.__getitem__)] == ["f00dcafe0123", None, None]


def test_whatever_a_process_is_called_a_line_is_a_line_of_ascii() -> None:
    line = text(sample("reset", process='a\n\x1b[2Jb\x7f"é'.encode()))
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["process"] == r'a\n\x1b[2Jb\x7f"é'


def test_a_name_that_is_no_text_becomes_text() -> None:
    assert one(sample("reset", process=b"a\xffb"))["process"] == r"a\xffb"


def test_what_follows_the_end_of_a_name_is_left_out() -> None:
    assert one(sample("reset", process=b"curl\0rest"))["process"] == "curl"


def test_numbers_without_a_meaning_do_no_harm() -> None:
    event = one(sample("close", role="server", visited=0xFFFF, state_ns={}))
    assert event["closed_first"] == "both"
    batch = sample("reset")
    batch["role"] = 200
    assert one(batch)["role"] is None
    batch["kind"] = 99
    assert describe(batch, CONTEXT) == []
