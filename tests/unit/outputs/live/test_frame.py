"""The screens of the live view as text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.outputs.live.screens import (
    of_a_minute,
    of_calm,
    of_connections,
    of_many_services,
    of_nothing,
    of_traffic,
    of_trouble,
    texts,
)
from tracer.model.history import History
from tracer.outputs.live.frame import duration_text, frame
from tracer.outputs.live.keys import ViewState
from tracer.outputs.live.styled import length

SERVICES = ViewState(sort="count")
DETAIL = ViewState(screen="detail", chosen=("client", "443"))
HELP = ViewState(screen="help")
TYPING = ViewState(typing="44", search="8080")


def drawn(now: History | None, width: int = 80, height: int = 24, state: ViewState = SERVICES) -> list[str]:
    return texts(frame(state, now, width, height))


def test_eighty_columns_and_24_lines() -> None:
    assert drawn(of_traffic()) == [
        " tcptrace  10 s · 60 open · 69 handshakes · 5 failed",
        "               handshakes  handshake time               ──── last minute ────",
        " service     ▾count    /s     p50     p99 failed resent /s         p99",
        " server 8080     46  4.60 31.9 µs 33.0 µs      -      -          █          █",
        " client 443      23  2.30 1.00 ms 1.00 ms      5      3          █          █",
        "",
        " failures  5: refused 5",
        " resent    segments per 100 connections: timeout 4.1",
        " TIME_WAIT none",
        " ports     no ephemeral port in use",
        " lost      0 events · 0 untracked · 4 partial · 1 misses · 0 label overflow",
        " audit     drift 0 (ActiveOpens, PassiveOpens, EstabResets, RetransSegs)",
        "",
        " failures    refused   resent per 100 connections  timeout",
        " client 443        5   client 443                     10.7",
        *[""] * 8,
        " ? help  q quit  t span  ↑↓ Enter detail  s sort  w worst  / search  space pause",
    ]


def test_forty_columns_and_10_lines() -> None:
    assert drawn(of_traffic(), 40, 10) == [
        " tcptrace  10 s · 60 open · 69 handshak…",
        "               handshakes",
        " service     ▾count    /s     p99 failed",
        " server 8080     46  4.60 33.0 µs      -",
        " client 443      23  2.30 1.00 ms      5",
        " failures  5: refused 5",
        " resent    per 100: timeout 4.1",
        " TIME_WAIT none",
        " lost      4 partial, 1 misses",
        " ? help  q quit  t span  ↑↓ Enter detail",
    ]


def test_two_hundred_columns_and_60_lines_show_every_reason_by_service() -> None:
    lines = drawn(of_trouble(), 200, 60)
    assert len(lines) == 60
    assert lines[13:15] == [
        " failures    refused   resent per 100 connections  timeout   TIME_WAIT by destination   count"
        "   ephemeral ports to    used      of   %  exhausted",
        " client 443        5   client 443                     10.7   192.0.2.1:443             26,000"
        "   192.0.2.1:443       26,050  28,232  92   in 253 s",
    ]


def test_before_anything_is_known_that_is_said() -> None:
    assert drawn(None) == [" tcptrace has begun; the first figures come in a second"]


def test_with_no_connection_every_line_is_there() -> None:
    assert drawn(of_nothing())[:9] == [
        " tcptrace  1 s · 0 open · 0 handshakes · 0 failed",
        " no connection was opened or closed yet",
        "",
        " failures  none",
        " resent    no segment",
        " TIME_WAIT -",
        " ports     -",
        " lost      0 events · 0 untracked · 0 partial · 0 misses · 0 label overflow",
        " audit     -",
    ]


def test_trouble_is_said_in_eighty_columns() -> None:
    assert drawn(of_trouble())[6:12] == [
        " failures  5: refused 5",
        " resent    segments per 100 connections: timeout 4.1",
        " TIME_WAIT 26,100: 192.0.2.1:443 26,000, 192.0.2.2:8080 90, other 10",
        " ports     26,050 of 28,232 (92 %) to 192.0.2.1:443 in use, exhausted in 253 s",
        " lost      23 events · 5 untracked · 4 partial · 3 misses · 7 label overflow",
        " audit     ActiveOpens -2 of 30, RetransSegs +1 of 3",
    ]


def test_on_a_small_screen_the_gravest_is_what_stays() -> None:
    assert drawn(of_trouble(), 50, 9)[4:8] == [
        " client 443      23     0 1.00 ms 1.00 ms      5",
        " ports     92 %, exhausted in 253 s, 192.0.2.1:443",
        " lost      23 events, 5 untracked, 4 partial, 3 m…",
        " audit     ActiveOpens -2 of 30, RetransSegs +1 o…",
    ]


def test_many_services_leave_the_lines_below_them_their_place() -> None:
    lines = drawn(of_many_services())
    assert lines[3].split()[:3] == ["client", "1039", "139"]
    assert lines[15].split()[:3] == ["others:", "28", "3178"]
    assert [line.split()[0] for line in lines[17:23]] == ["failures", "resent", "TIME_WAIT", "ports", "lost", "audit"]


def test_the_last_minute_of_a_service_is_drawn() -> None:
    assert drawn(of_a_minute())[3] == " client 443     270     0 32.6 ms  256 ms      -      - ▆▇█▅█▆▇█▅█ ▆▆▆▆▆▇████"


def test_a_filter_is_said_and_holds_for_the_lines_below_the_table_too() -> None:
    lines = drawn(of_trouble(), state=replace(SERVICES, search="8080"))
    assert lines[0].endswith(" port 8080")
    assert [line.split()[:2] for line in lines[3:9]] == [
        ["server", "8080"],
        [],
        ["failures", "none"],
        ["resent", "no"],
        ["TIME_WAIT", "90:"],
        ["ports", "90"],
    ]


def test_the_head_says_which_span_is_shown_and_rows_are_of_that_alone() -> None:
    now = of_a_minute()
    for span, head, count in (
        (60, "last minute of 1:30", "270"),
        (10, "last 10 s of 1:30", "45"),
        (0, "1:30 since the start", "405"),
    ):
        lines = drawn(now, state=replace(SERVICES, span=float(span)))
        assert lines[0] == f" tcptrace  {head} · 405 open · {count} handshakes · 0 failed"
        assert lines[3].split()[:3] == ["client", "443", count]


def test_rows_that_did_nothing_leave_and_that_is_said_where_none_is_left() -> None:
    now = of_calm()
    assert "client 443" in "\n".join(drawn(now, state=replace(SERVICES, span=0.0)))
    lines = drawn(now)
    assert lines[1] == " nothing happened in the last minute; t: another span"
    assert lines[0].endswith("0 handshakes · 0 failed")
    lines = drawn(now, state=replace(SERVICES, span=0.0, search="wget"))
    assert lines[1] == " nothing with wget happened since the start; t: another span"


def test_what_is_paused_stays_and_is_marked() -> None:
    lines = drawn(of_traffic(), state=replace(SERVICES, paused=of_nothing()))
    assert lines[0].endswith(" paused")
    assert "no connection" in lines[1]


def test_one_service_alone() -> None:
    assert drawn(of_traffic(), state=DETAIL) == [
        " client 443  10 s · 60 open · 69 handshakes · 5 failed",
        " /s                                     █ now 2.30",
        " p99                                    █ now 1.00 ms",
        "           -60 s                      now",
        "",
        " opened    23: p50 1.00 ms, p90 1.00 ms, p99 1.00 ms, max 1.00 ms",
        " open      16",
        " closed    7 after p50 5.08 ms, p99 5.08 ms",
        " payload   7.00 kB sent, 0 B received",
        " rtt       p50 40.0 µs, p99 40.0 µs, at the end",
        "",
        " failed   count   closed  count   resent segments  count  per 100 connections",
        " refused      5   normal      7   timeout              3                 10.7",
        "",
        " handshake times",
        "  977 µs to 1.95 ms     23 ██████████████████████████████",
        *[""] * 7,
        " Esc back  ? help  q quit  Enter connections  ↑↓ next service  space pause",
    ]


def test_times_that_have_no_room_of_their_own_are_one_bar() -> None:
    lines = drawn(of_a_minute(), 80, 18, state=DETAIL)
    assert lines[11:17] == [
        " handshake times",
        "         to 31.2 ms    225 ██████████████████████████████",
        " 31.2 ms to 62.5 ms     45 ██████",
        "  62.5 ms to 125 ms     45 ██████",
        "   125 ms to 250 ms     45 ██████",
        "   250 ms to 500 ms     45 ██████",
    ]


def test_a_service_that_is_not_there_is_said() -> None:
    assert drawn(of_nothing(), state=DETAIL)[1] == " nothing is known of this service"


def test_the_help_fits_into_eighty_columns_and_24_lines() -> None:
    lines = drawn(of_traffic(), state=HELP)
    assert not any("…" in line for line in lines)
    assert lines[-2] == ""
    assert lines[-1] == " any key: back  q quit"


def test_the_port_that_is_being_typed_is_seen() -> None:
    assert drawn(of_traffic(), state=TYPING)[-1] == " find: 44_ Enter applies, Esc cancels"


@pytest.mark.parametrize(
    "state",
    [
        *(SERVICES, DETAIL, HELP, TYPING, replace(SERVICES, chosen=("client", "1007"), search="1007")),
        *(replace(DETAIL, screen="connections"), replace(DETAIL, screen="ladder", connection=1)),
    ],
)
@pytest.mark.parametrize("make", [of_nothing, of_traffic, of_trouble, of_many_services, of_a_minute, of_connections])
def test_no_screen_is_larger_than_the_terminal(state: ViewState, make: Callable[[], History]) -> None:
    now = make()
    for width in (*range(1, 10), 20, 29, 40, 80, 81, 200):
        for height in (*range(1, 8), 13, 24, 60):
            lines = frame(state, now, width, height)
            assert len(lines) == height
            assert max(map(length, lines)) <= width


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.9, "0 s"), (59, "59 s"), (60, "1:00"), (3599, "59:59"), (3661, "1:01:01"), (2 * 86_400 + 3600, "2 d 1:00:00")],
)
def test_how_long_it_lasts_is_said_as_people_do(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
