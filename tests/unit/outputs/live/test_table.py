from __future__ import annotations

import pytest

from tests.unit.model.builder import CONTEXT, SECOND, events, reading
from tests.unit.outputs.conftest import model_of_traffic
from tests.unit.outputs.live.screens import of_a_minute, of_connections, of_many_services, of_nothing, of_traffic, texts
from tracer.model.history import History, history
from tracer.model.totals import Model
from tracer.outputs.live.search import Search
from tracer.outputs.live.table import SORTS, WRONG, ServiceRow, arranged, services_table
from tracer.outputs.live.window import SINCE_START, Key, window


def rows_of(now: History, sort: str, text: str = "") -> list[ServiceRow]:
    return arranged(now, window(now, SINCE_START), sort, Search(text))


def drawn(now: History, width: int = 80, height: int = 20, *, sort: str = "count", chosen: Key | None = None) -> list[str]:
    rows = rows_of(now, sort)
    return texts(services_table(rows, sort=sort, chosen=chosen, width=width, height=height))


def names(now: History, sort: str, port: str = "") -> list[str]:
    return [row.label for row in rows_of(now, sort, port)]


def test_the_table_is_read_in_eighty_columns() -> None:
    assert drawn(of_traffic()) == [
        "               handshakes  handshake time               ──── last minute ────",
        " service     ▾count    /s     p50     p99 failed resent /s         p99",
        " server 8080     46  4.60 31.9 µs 33.0 µs      -      -          █          █",
        " client 443      23  2.30 1.00 ms 1.00 ms      5      3          █          █",
    ]


def test_forty_columns_hold_what_matters_most() -> None:
    assert drawn(of_traffic(), width=40) == [
        "               handshakes",
        " service     ▾count    /s     p99 failed",
        " server 8080     46  4.60 33.0 µs      -",
        " client 443      23  2.30 1.00 ms      5",
    ]


def test_a_wide_terminal_has_every_column_and_longer_sparklines() -> None:
    head, row = drawn(of_a_minute(), width=200)[1:]
    assert head.split() == [
        *("service", "▾count", "/s", "p50", "p90", "p99", "max", "failed", "open", "closed", "resent"),
        *("sent", "received", "peer", "/s", "p99"),
    ]
    assert len(row.split("192.0.2.1")[-1].strip()) == 61  # 30 bars of two seconds each, twice


def test_big_numbers_stay_in_their_columns() -> None:
    model = Model(CONTEXT, start_ns=0)
    model.add(
        reading(events("handshake", 123_456, port=65535, handshake_ns=999 * SECOND), events("close", 123_456, port=65535))
    )
    model.add(
        reading(events("failure", 123_456, port=65535), events("retransmit", port=65535, segments=10**9), time_ns=2 * SECOND)
    )
    line = drawn(history(model.report()), width=170)[2]
    assert line.split()[:15] == [
        *("client", "65535", "123k", "61728", "981", "s", "981", "s", "981", "s", "999", "s", "123k", "0", "123k")
    ]


def test_nothing_seen_is_said() -> None:
    assert drawn(of_nothing()) == [" no connection was opened or closed yet"]


def test_the_rate_is_that_of_the_last_interval() -> None:
    model = model_of_traffic()
    before = history(model.report())
    model.add(reading(events("handshake", 46, handshake_ns=1_000_000), time_ns=12 * SECOND))
    line = next(line for line in drawn(history(model.report(), before)) if line.startswith(" client 443"))
    assert line.split()[:4] == ["client", "443", "69", "23.0"]


def test_what_has_no_room_is_one_summed_row() -> None:
    lines = drawn(of_many_services(5), height=4, width=40)
    assert [line.split()[:4] for line in lines[-3:]] == [
        ["client", "1004", "104", "52.0"],
        ["client", "1003", "103", "51.5"],
        ["others:", "3", "303", "152"],
    ]


@pytest.mark.parametrize("height", range(1, 12))
def test_the_chosen_row_is_always_shown(height: int) -> None:
    lines = drawn(of_many_services(), height=height + 1, chosen=("client", "1007"))
    assert len(lines) == height + 1
    assert any(line.startswith(">client 1007") for line in lines)


@pytest.mark.parametrize("sort", SORTS)
def test_services_can_be_sorted_by_every_column(sort: str) -> None:
    assert sorted(names(of_many_services(), sort)) == sorted(names(of_many_services(), "service"))


def test_the_largest_come_first_and_equal_ones_in_the_order_of_their_ports() -> None:
    assert names(of_many_services(4), "count") == ["client 1003", "client 1002", "client 1001", "client 1000"]
    assert names(of_many_services(4), "failed") == ["client 1001", "client 1000", "client 1002", "client 1003"]
    assert names(of_many_services(4), "service") == ["client 1000", "client 1001", "client 1002", "client 1003"]


def test_at_first_those_come_first_where_most_is_wrong() -> None:
    model = model_of_traffic()
    model.add(reading(events("handshake", 99, port=80), events("retransmit", 9, port=81, segments=1, retransmit_kind="fast")))
    rows = names(history(model.report()), WRONG)
    assert rows[0] == "client 81"
    assert rows.index("client 80") > rows.index("client 443")


def test_what_is_unknown_comes_last() -> None:
    model = model_of_traffic()
    model.add(reading(events("close", port=99), time_ns=12 * SECOND))
    assert names(history(model.report()), "p99") == ["client 443", "server 8080", "client 99"]


def test_digits_find_the_beginning_of_a_port() -> None:
    assert names(of_many_services(), "count", "1007") == ["client 1007"]
    assert names(of_many_services(), "service", "100") == [f"client 100{n}" for n in range(10)]
    assert names(of_many_services(), "count", "07") == []


def test_text_finds_processes_and_peers_in_whatever_case() -> None:
    model = Model(CONTEXT, start_ns=0)
    model.add(reading(events("handshake", port=80, process=b"Nginx"), events("handshake", port=81, peer="2001:db8::7")))
    now = history(model.report())
    assert names(now, "count", "nginx") == ["client 80"]
    assert names(now, "count", "db8::7") == ["client 81"]
    assert names(now, "count", "curl") == []


def test_the_heading_of_the_column_that_sorts_is_marked() -> None:
    assert "▾p99" in drawn(of_traffic(), sort="p99")[1]
    assert "service▴" in drawn(of_traffic(), sort="service")[1]


def test_a_text_finds_a_service_by_any_process_and_peer_of_its_latest_records() -> None:
    now = of_connections()
    (row,) = rows_of(now, "count", "192.0.2.1")
    assert "curl" not in row.whose.process
    assert [names(now, "count", text) for text in ("CURL", "192.0.2.", "wget")] == [["client 443"], ["client 443"], []]
