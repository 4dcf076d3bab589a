from __future__ import annotations

import io

from rich.console import Console

from tests.unit.model.builder import CONTEXT, SECOND, events, reading, report_of
from tests.unit.outputs.conftest import model_of_traffic
from tracer.ingest.source import Context
from tracer.model.report import Report
from tracer.model.totals import Model
from tracer.outputs.table import table


def drawn(report: Report, previous: Report | None = None, width: int = 80, rows: int = 15) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as capture:
        console.print(table(report, previous, width, rows=rows))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_the_table_is_read_in_eighty_columns(report: Report) -> None:
    assert drawn(report) == [
        "                   hand-                                                    re-",
        "service           shakes /s     p50     p90     p99     max failed closed trans",
        "server 8080           46  - 31.9 µs 31.9 µs 33.0 µs 33.0 µs      -      2     -",
        "client 443            23  - 1.00 ms 1.00 ms 1.00 ms 1.00 ms      5      7     3",
        "",
        "10 s · 60 open · 0 events lost · 0 connections untracked",
    ]


def test_big_numbers_fit_into_eighty_columns_too() -> None:
    model = Model(CONTEXT, start_ns=0)
    model.add(
        reading(events("handshake", 123_456, port=65535, handshake_ns=999 * SECOND), events("close", 123_456, port=65535))
    )
    model.add(
        reading(events("failure", 123_456, port=65535), events("retransmit", port=65535, segments=10**9), time_ns=2 * SECOND)
    )
    lines = drawn(model.report(), Model(CONTEXT, start_ns=0).report())
    assert max(map(len, lines)) <= 80
    assert lines[2].split()[2:] == ["123k", "61728", *["253", "s"] * 3, "999", "s", "123k", "123k", "1.00G"]


def test_the_rate_is_that_since_the_previous_report() -> None:
    model = model_of_traffic()
    before = model.report()
    model.add(reading(events("handshake", 46, handshake_ns=1_000_000), time_ns=12 * SECOND))
    line = next(line for line in drawn(model.report(), before) if line.startswith("client 443"))
    assert line.split()[:4] == ["client", "443", "69", "23.0"]


def test_the_biggest_services_come_first_and_the_rest_is_one_line() -> None:
    report = report_of(*(events("handshake", n, port=n) for n in (2, 3, 5, 7, 11)))
    lines = [line.split()[:3] for line in drawn(report, rows=3)[2:5]]
    assert lines == [["client", "11", "11"], ["client", "7", "7"], ["other", "(3)", "10"]]


def test_the_rate_of_the_rest_counts_only_the_rest() -> None:
    model = Model(CONTEXT, start_ns=0)
    model.add(reading(*(events("handshake", n, port=n) for n in (2, 3, 50))))
    before = model.report()
    model.add(reading(events("handshake", 4, port=2), events("handshake", 10, port=50), time_ns=2 * SECOND))
    lines = [line.split()[:4] for line in drawn(model.report(), before, rows=2)[2:4]]
    assert lines == [["client", "50", "60", "10.0"], ["other", "(2)", "9", "4.00"]]


def test_what_was_not_seen_is_said() -> None:
    model = Model(Context("6.1", "0.26", 0, 1, missing=("resets",)), start_ns=0)
    model.add(reading(cells={"events_lost": 23, "untracked": 5}))
    assert drawn(model.report())[-2:] == [
        "1 s · 0 open · 23 events lost · 5 connections untracked",
        "not shown by this kernel: resets",
    ]
