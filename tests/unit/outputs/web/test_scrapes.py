from __future__ import annotations

import gzip
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from tests.kernel.until import until
from tests.unit.model.builder import events, report_of
from tracer.model.report import Report
from tracer.outputs.prometheus import OPENMETRICS, TEXT
from tracer.outputs.web.scrapes import Scrapes


class Numbered:
    """Reports with 1, 2, 3, … handshakes; the first one is held back until it is let go."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self.asked = threading.Event()
        self.go = threading.Event()

    def __call__(self) -> Report:
        self.asked.set()
        self.go.wait(30)
        return report_of(events("handshake", next(self._numbers), handshake_ns=33_000))


def handshakes(body: bytes) -> int:
    (line,) = (line for line in body.splitlines() if line.startswith(b"tcptrace_handshakes_total"))
    return int(float(line.split()[-1]))


def test_each_form_is_of_the_report() -> None:
    scrapes = Scrapes(lambda: report_of(events("handshake", 23)))
    assert handshakes(scrapes.body(TEXT, packed=False)) == 23
    assert handshakes(gzip.decompress(scrapes.body(TEXT, packed=True))) == 23
    assert scrapes.body(OPENMETRICS, packed=False).endswith(b"# EOF\n")


def test_one_after_the_other_each_has_a_report_of_its_own() -> None:
    reports = Numbered()
    reports.go.set()
    scrapes = Scrapes(reports)
    assert [handshakes(scrapes.body(TEXT, packed=False)) for _ in range(3)] == [1, 2, 3]


def test_those_who_come_while_one_is_made_share_the_next_one() -> None:
    reports = Numbered()
    scrapes = Scrapes(reports)
    arrived = []

    def late(packed: bool) -> bytes:
        arrived.append(packed)
        body = scrapes.body(TEXT, packed=packed)
        return gzip.decompress(body) if packed else body

    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(scrapes.body, TEXT, packed=False)
        assert reports.asked.wait(30)
        rest = [pool.submit(late, bool(i % 2)) for i in range(8)]
        until(lambda: len(arrived) == 8, "all have come")
        reports.go.set()
        numbers = {handshakes(each.result()) for each in rest}
        assert handshakes(first.result()) == 1
    # one may have come between its word and its wait; none has what was begun before it came
    assert numbers <= {2, 3}


def test_a_report_that_fails_fails_for_one_and_not_for_the_next() -> None:
    faults = iter([True, False])

    def sometimes() -> Report:
        if next(faults):
            raise ZeroDivisionError
        return report_of(events("handshake", 23))

    scrapes = Scrapes(sometimes)
    with pytest.raises(ZeroDivisionError):
        scrapes.body(TEXT, packed=False)
    assert handshakes(scrapes.body(TEXT, packed=False)) == 23


def test_no_report_is_kept_until_the_next_scrape() -> None:
    taken: list[weakref.ref[Report]] = []

    def take() -> Report:
        report = report_of(events("handshake", 23))
        taken.append(weakref.ref(report))
        return report

    scrapes = Scrapes(take)
    assert handshakes(scrapes.body(TEXT, packed=False)) == 23
    assert [report() for report in taken] == [None]
