"""The page of a report, of what is named by others, of little, and of much."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.unit.model.builder import CONTEXT, SECOND, events, reading
from tracer.ingest.decode import Events
from tracer.ingest.source import Context
from tracer.model.drawn import drawn
from tracer.model.findings import Findings, FindingsSearch
from tracer.model.overtime import Timeline
from tracer.outputs.findings.connectionpage import FIRST_LINES, LAST_LINES, connection_page, ladder_text
from tracer.outputs.findings.pictures import handshakes_over_time, level_bounds, retransmissions_over_time
from tracer.outputs.findings.reportpage import report_page

HOSTILE = b"<script>x</b>&\"'"
SEGMENTS = replace(CONTEXT, asked=("follow", "segments"), missing=("<script>resets</script>",), kernel="<script>6.1&")


def found(*batches: Events, context: Context = CONTEXT) -> Findings:
    search = FindingsSearch(context, start_ns=0, courses=True)
    for batch in batches:
        search.add(reading(batch))
    return search.findings()


def well_formed(html: str) -> ElementTree.Element:
    """Return the body as XML, which refuses what is left open or was not escaped."""
    return ElementTree.fromstring(html[html.index("<body>") : html.index("</body>") + 7])


def life(connection: int = 7) -> Events:
    """Return the records of a connection of a process with a hostile name, and some segments that come back."""
    heard = events("segment", 40, send_window=65_535, congestion_window=10, srtt_us=20_000)
    heard["time_ns"] = SECOND + np.arange(40) * 10_000_000
    heard["acknowledgement"] = 1001 + np.arange(40) * 1448
    heard["send_next"] = 1001 + np.arange(1, 41) * 1448
    again = events("retransmit", 2, retransmit_kind="fast", sequence=2449, segments=1, time_ns=SECOND + 5_000_000)
    end = events("close", sent_bytes=57_920, retransmitted_segments=2, duration_ns=SECOND, time_ns=2 * SECOND)
    opened = events("state", from_state="close", time_ns=SECOND)
    opened["to_state"] = 2
    every = np.concatenate([opened, heard, again, end])
    every["connection"], every["pid"], every["initial_sequence"] = connection, 1, 1000
    every["process"] = HOSTILE
    return every


def test_names_that_others_choose_stay_text() -> None:
    each = drawn(life(), SEGMENTS)
    assert each
    assert each.graph
    report = found(life(), context=SEGMENTS)
    for html in (report_page(report, [each]), connection_page(each, SEGMENTS)):
        assert "<script" not in html
        assert HOSTILE.decode() in "".join(well_formed(html).itertext())


def test_a_report_of_nothing_is_a_page_without_pictures() -> None:
    html = report_page(found(), [], "nothing to draw")
    assert "<svg" not in html
    assert "nothing to draw" in "".join(well_formed(html).itertext())


@pytest.mark.parametrize("times", [[0], [1, 2**62], [SECOND] * 5])
def test_pictures_are_whole_whatever_the_times(times: list[int]) -> None:
    batch = events("handshake", len(times), handshake_ns=np.array(times, np.uint64), time_ns=np.array(times, np.uint64))
    html = report_page(found(batch, events("retransmit", segments=2**31, time_ns=5)), [])
    assert "nan" not in html
    assert "inf" not in html
    assert len(well_formed(html).findall(".//svg")) == 3


def test_shades_are_in_equal_steps_and_none_is_empty_by_rounding() -> None:
    assert level_bounds(1) == [1]
    assert level_bounds(3) == [1, 2, 3]
    assert level_bounds(10**7) == [10**n for n in range(1, 8)]


def test_every_cell_of_a_heat_map_is_drawn_once() -> None:
    counts = np.random.default_rng(5).integers(0, 100, (87, 96))
    svg = handshakes_over_time(Timeline(0, SECOND, counts), "client", CONTEXT)
    cells = sum(part.get("d", "").count("M") for part in well_formed_svg(svg) if part.get("class", "").startswith("h"))
    assert cells == np.count_nonzero(counts)


def well_formed_svg(svg: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(svg).iter("path"))


def test_peers_have_their_names_in_their_rows() -> None:
    report = found(*(events("retransmit", n, peer=f"192.0.2.{n}", segments=1) for n in range(1, 9)))
    assert report.courses
    svg = retransmissions_over_time(report.courses, [f"peer {n}" for n in range(8, 2, -1)], CONTEXT)
    texts = [text.text for text in ElementTree.fromstring(svg).iter("text")]
    assert [text for text in texts if text and ": " in text] == [*(f"peer {n}: {n}" for n in range(8, 2, -1)), "all others: 3"]


def test_a_long_ladder_has_its_beginning_and_its_end() -> None:
    each = drawn(
        np.concatenate([life()[:-3]] + [events("retransmit", 1, connection=7, segments=1, time_ns=2**31)] * 500), SEGMENTS
    )
    assert each
    assert each.steps
    lines = "".join(ElementTree.fromstring(ladder_text(each.steps)).itertext()).splitlines()
    assert len(lines) == FIRST_LINES + LAST_LINES + 1
    assert "lines are left out here" in lines[FIRST_LINES]


@pytest.mark.parametrize("microseconds", [(49, 98, 120), (49, 60, 400), (30, 31, 32), (20, 90, 1_000_000)])
def test_the_names_of_quantiles_do_not_touch(microseconds: tuple[int, ...]) -> None:
    batch = np.concatenate([events("handshake", 50, handshake_ns=us * 1000) for us in microseconds])
    body = well_formed(report_page(found(batch), []))
    texts = [(float(each.attrib["x"]), each.text or "") for each in body.iter() if each.tag == "text" and "x" in each.attrib]
    names = [(x, text) for x, text in texts if text.startswith(("p5", "p9"))]
    assert ", ".join(text for _, text in names) == "p50, p90, p99, p99.9, max"
    for (x, text), (next_x, next_text) in pairwise(names):
        assert next_x - x >= 6.8 * (len(text) + len(next_text)) / 2
