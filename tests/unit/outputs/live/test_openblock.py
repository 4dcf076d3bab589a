"""Open connections on the live view: who is held up, and those of one service."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tests.unit.model.builder import events, report_of
from tracer.ingest.figures import OPEN, Figures
from tracer.ingest.snapshot import Snapshot
from tracer.model.report import Report, services
from tracer.model.tcp import ROLE
from tracer.model.why import NO_RULE, RULES
from tracer.outputs.live.openblock import open_block, slow_services, slowest
from tracer.outputs.live.search import Search
from tracer.outputs.live.styled import plain

LOSS = next(number for number, rule in enumerate(RULES) if "loses segments" in rule.sentence)


def connections() -> NDArray[np.void]:
    table = np.zeros(3, OPEN)
    table["role"], table["remote_port"], table["local_port"] = ROLE["client"], 443, [50000, 50001, 50002]
    table["remote_address"] = np.frombuffer(bytes(10) + b"\xff\xff\xc0\x00\x02\x01", np.uint8)
    table["why"], table["cookie"] = [NO_RULE, LOSS, NO_RULE], [1, 2, 3]
    table["figures"][:, 0], table["rtt_us"] = [1000, 10, 2_000_000], [0, 40_000, 100]
    return table


def report() -> Report:
    figures = Figures(connections(), frozenset(), 0, 1)
    return replace(report_of(events("handshake")), snapshot=Snapshot(figures=figures))


def test_services_whose_connections_are_held_up_are_named_with_the_cause() -> None:
    (note,) = slow_services(report(), Search(""))
    assert note.texts == ("client 443 1 by network",)
    assert slow_services(report(), Search("80")) == []
    assert slow_services(report_of(events("handshake")), Search("")) == []


def test_a_services_connections_are_listed_those_that_are_held_up_first() -> None:
    (service,) = services(report())
    assert open_block(report(), service).rows == [
        ("192.0.2.1 50001", "10 B", "0 B", "40.0 ms", "network"),
        ("192.0.2.1 50002", "2.00 MB", "0 B", "100 µs", "-"),
        ("192.0.2.1 50000", "1.00 kB", "0 B", "-", "-"),
    ]


def test_the_worst_of_all_services_come_first() -> None:
    head, *lines = map(plain, slowest(report(), 80, 24))
    blank, columns, *rows = (line.split() for line in lines)
    assert head.strip() == "1 of 3 open connections are held up"
    assert (blank, columns[0]) == ([], "service")
    assert [row[3] for row in rows] == ["50001", "50002", "50000"]
    assert rows[0][:2] == ["client", "443"]
    assert len(slowest(report(), 80, 4)) == 4
    assert plain(slowest(report_of(events("handshake")), 80, 24)[0]).strip() == "no open connection is known"


def test_old_figures_say_how_old_they_are() -> None:
    late = replace(report(), time_ns=42 * 10**9)
    assert plain(slowest(late, 80, 24)[0]).strip() == "1 of 3 open connections are held up, 42 s ago"
