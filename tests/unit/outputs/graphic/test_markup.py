"""Elements and small charts: what comes from outside stays text, and each chart says in words what it shows."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from tracer.outputs.graphic.htmlparts import card, html_document, section, table
from tracer.outputs.graphic.look import POLICY, STYLE, style_source
from tracer.outputs.graphic.markup import Markup, element, joined
from tracer.outputs.graphic.smallcharts import spark_bars, sparkline

HOSTILE = """<script>alert("x")</script>&'"""


def test_text_and_attributes_are_escaped_and_markup_is_not() -> None:
    inner = element("b", HOSTILE, title=HOSTILE)
    found = ElementTree.fromstring(element("p", inner, HOSTILE))
    (bold,) = found
    assert (bold.tag, bold.text, bold.get("title"), bold.tail) == ("b", HOSTILE, HOSTILE, HOSTILE)
    assert joined([Markup("<i>"), "<i>", None, 0]) == "<i>&lt;i&gt;0"


def test_numbers_are_short_and_names_of_attributes_are_those_of_svg() -> None:
    assert element("text", x=1.0, y=2.345678, text_anchor="end", class_="a", hidden=None) == (
        '<text x="1" y="2.35" text-anchor="end" class="a"></text>'
    )


def test_a_document_allows_its_own_stylesheet_alone() -> None:
    html = html_document(HOSTILE, [section(HOSTILE, table((HOSTILE,), [(HOSTILE,)])), card(HOSTILE, HOSTILE)])
    assert "<script" not in html
    assert f"<style>{STYLE}</style>" in html
    assert style_source() in POLICY
    assert "style=" not in html
    assert "unsafe" not in html


def test_a_table_without_rows_is_a_sentence() -> None:
    assert table(("a",), [], none="nothing failed") == "<p>nothing failed</p>"


@pytest.mark.parametrize("draw", [sparkline, spark_bars])
def test_a_small_chart_is_whole_whatever_the_values(draw: object) -> None:
    for values in ([], [None], [0.0, 0.0], [1.0], [None, 2.0, float("nan"), 3.0, 1e18]):
        svg = ElementTree.fromstring(draw(values, HOSTILE))  # type: ignore[operator]
        assert (svg.get("aria-label"), svg[0].text) == (HOSTILE, HOSTILE)
        assert all("nan" not in part.get("d", "") for part in svg)


def test_unknown_values_leave_a_gap_in_the_line() -> None:
    svg = ElementTree.fromstring(sparkline([1.0, 2.0, None, 4.0, 5.0], "rates"))
    assert svg[-1].get("d", "").count("M") == 2
