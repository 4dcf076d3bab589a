"""Events as people read them: exact lines, each under 80 columns whatever the addresses."""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tests.unit.outputs.test_jsonl import CONTEXT, LIFE, address, sample
from tracer.model.tcp import KINDS, RETRANSMIT_KINDS, ROLES, STATE, STATES
from tracer.outputs.eventtable import HEAD, KIND_COLORS, colored_lines, table_lines
from tracer.outputs.jsonl import describe

LONG = "2001:db8:85a3:1319:8a2e:370:7344:9c1a"
LONG_TOO = "2001:db8:85a3:1319:8a2e:370:7344:ff02"


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def line(kind: str, **columns: Any) -> str:
    (text,) = table_lines(describe(sample(kind, **columns), CONTEXT))
    return text


def ipv6(kind: str, **columns: Any) -> str:
    return line(kind, **({"family": 6, "local_address": address(LONG), "peer": LONG_TOO} | columns))


def test_each_kind_is_read_at_a_glance() -> None:
    lines = [
        HEAD,
        line("handshake", handshake_ns=1_020_000, local_port=40312, port=80),
        line("handshake", handshake_ns=33_000, role="server", port=80, pid=0, process=b""),
        line("failure", from_state="syn_sent", error=errno.ECONNREFUSED, duration_ns=42_000, port=80),
        line("close", from_state="fin_wait2", duration_ns=3_001_070_000, sent_bytes=1000, port=80, state_ns=LIFE),
        line("retransmit", retransmit_kind="timeout", segments=3, attempt=2, port=80),
        line("reset", flags=("reset_sent", "reset_reason"), reset_reason=8, port=80),
        line("state", from_state="syn_sent", to_state=STATE["established"], state_ns={"syn_sent": 1_020_000}, port=80),
        line("state", from_state="close", to_state=STATE["listen"], role="server", error=511, port=80),
    ]
    assert lines == [
        "time         event      connection                      what",
        "20:23:20.123 handshake  10.0.0.1:40312 > 10.0.0.2:80    1.02 ms curl/4711",
        "20:23:20.123 handshake  10.0.0.1:80 < 10.0.0.2:50123    33.0 µs",
        "20:23:20.123 failure    10.0.0.1:50123 > 10.0.0.2:80    refused 42.0 µs",
        "20:23:20.123 close      10.0.0.1:50123 > 10.0.0.2:80    normal ↑1.00kB ↓0B",
        "20:23:20.123 retransmit 10.0.0.1:50123 > 10.0.0.2:80    timeout 3 segments",
        "20:23:20.123 reset      10.0.0.1:50123 > 10.0.0.2:80    sent tcp_abort_on_data",
        "20:23:20.123 state      10.0.0.1:50123 > 10.0.0.2:80    syn_sent→established",
        "20:23:20.123 state      10.0.0.1:80 < 10.0.0.2:50123    listen() backlog 511",
    ]


def test_what_matters_less_is_left_out_first() -> None:
    assert line("close", from_state="fin_wait2", role="server", port=80, sent_bytes=1).endswith(" normal ↑1B ↓0B 0.00 µs")
    assert line("close", from_state="fin_wait2", sent_bytes=123_456, received_bytes=123_456).endswith(" normal ↑123kB ↓123kB")


def test_long_addresses_lose_their_middle_and_keep_their_ends_and_ports() -> None:
    assert ipv6("handshake", handshake_ns=1_020_000) == (
        "20:23:20.123 handshake [2001:db…44:9c1a]:50123 > [2001:db…344:ff02]:443 1.02 ms"
    )


def test_a_short_address_beside_a_long_one_stays_whole() -> None:
    text = ipv6("failure", from_state="syn_sent", error=errno.ETIMEDOUT, peer="2001:db8::1")
    assert "> [2001:db8::1]:443 timed_out" in text


def test_an_address_is_not_shortened_as_long_as_there_is_room() -> None:
    assert "10.0.0.1:50123 > 192.168.100.200:443 host_unreachable" in line(
        "failure", from_state="syn_sent", error=errno.EHOSTUNREACH, peer="192.168.100.200"
    )


def test_an_unknown_role_has_no_arrow() -> None:
    assert "10.0.0.1:50123 - 10.0.0.2:443" in line("reset", role="unknown")


def test_what_is_unknown_is_said() -> None:
    assert "unknown" in line("handshake", flags=("handshake_unknown",))
    assert line("close", flags=("partial",), from_state="fin_wait2").endswith("partial")


def test_another_reason_is_told_by_its_errno() -> None:
    assert " EACCES " in line("failure", from_state="syn_sent", error=errno.EACCES, duration_ns=1000)


def test_a_retransmission_that_never_left_says_why() -> None:
    assert line("retransmit", retransmit_kind="syn", flags=("failed",), error=-errno.ENOBUFS).endswith(" never left: ENOBUFS")


def test_no_name_can_break_a_line() -> None:
    text = line("handshake", role="server", port=80, handshake_ns=1000, process=b"\x1b[2J\nb")
    assert text.isprintable()
    assert r"\x1b[2J\nb/4711" in text


addresses = st.ip_addresses(v=6).map(str)


@given(
    kind=st.sampled_from(KINDS[1:]),
    role=st.sampled_from(ROLES),
    local=addresses,
    remote=addresses,
    ports=st.tuples(st.integers(0, 65535), st.integers(0, 65535)),
    states=st.tuples(st.sampled_from(STATES), st.sampled_from(STATES)),
    retransmit_kind=st.sampled_from(RETRANSMIT_KINDS),
    error=st.integers(0, 133),
    numbers=st.integers(0, 2**32 - 1),
)
def test_every_line_stays_under_80_columns(
    kind: str,
    role: str,
    local: str,
    remote: str,
    ports: tuple[int, int],
    states: tuple[str, str],
    retransmit_kind: str,
    error: int,
    numbers: int,
) -> None:
    text = line(
        kind,
        role=role,
        family=6,
        local_address=address(local),
        peer=remote,
        local_port=ports[0],
        remote_port=ports[1],
        from_state=states[0],
        to_state=STATE[states[1]],
        retransmit_kind=retransmit_kind,
        error=error,
        segments=numbers,
        retransmitted_segments=numbers,
        sent_bytes=numbers,
        duration_ns=numbers,
        handshake_ns=numbers,
    )
    assert len(text) < 80
    assert f":{ports[1] or '-'} " in text


@pytest.mark.parametrize("kind", ["handshake", "failure", "close", "retransmit", "reset", "state"])
def test_colors_are_of_the_kind_alone_and_change_no_text(kind: str) -> None:
    (colored,) = colored_lines(describe(sample(kind), CONTEXT))
    assert re.sub(r"\x1b\[\d*m", "", colored) == line(kind)
    assert re.findall(r"\x1b\[3\dm(\w+)\x1b\[0m", colored) == ([kind] if kind in KIND_COLORS else [])
