"""Names of other people's making: whatever their bytes are, what is shown is visible text that stays in its place."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given, strategies as st

from tracer.ingest.names import cleaned_json, name_text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"curl", "curl"),
        (b"", ""),
        (b" ", " "),
        ("café 日本".encode(), "café 日本"),
        (b"echoed\n", "echoed"),
        (b"a\nb\r\t", r"a\nb\r\t"),
        (b"\x1b]0;title\x07", r"\x1b]0;title\x07"),
        (b"\x7f", r"\x7f"),
        (b"a\xff\xfeb", r"a\xff\xfeb"),
        ("\x9b2J".encode(), r"\x9b2J"),
        (b"\x9b2J", r"\x9b2J"),
        ("\u202egnp.exe".encode(), r"\u202egnp.exe"),
        ("a\u2066b\u2069".encode(), r"a\u2066b\u2069"),
        ("a\u200bb\ufeff".encode(), r"a\u200bb\ufeff"),
        ("a\u2028b\u0085".encode(), r"a\u2028b\x85"),
        ("\U000e0041".encode(), r"\U000e0041"),
        ("process-xnöööö".encode()[:15], r"process-xnöö\xc3"),
        (b"\xed\xa0\x80", r"\xed\xa0\x80"),
        (b"curl\0left over\n", "curl"),
        (rb"dev-disk\x2dby.mount", r"dev-disk\x2dby.mount"),
        (b"a\"b\\c'<&>", "a\"b\\c'<&>"),
    ],
)
def test_what_is_not_visible_is_shown_as_an_escape(name: bytes, text: str) -> None:
    assert name_text(name) == text


@given(st.binary() | st.text().map(lambda text: text.encode(errors="surrogatepass")))
def test_no_name_has_a_character_that_a_terminal_or_a_format_acts_on(name: bytes) -> None:
    text = name_text(name)
    assert not {unicodedata.category(char)[0] for char in text} & {"C"}
    assert not set(text) & set("\u2028\u2029")
    text.encode()


def test_strings_of_a_document_are_names_too() -> None:
    document = {"a\x1b": ["\u202e", {"b": "a\nb"}], "n": 1, "s": "\ud800"}
    expected = {r"a\x1b": [r"\u202e", {"b": r"a\nb"}], "n": 1, "s": r"\ud800"}
    assert cleaned_json(json.dumps(document).encode()) == expected
    assert cleaned_json(b'{"process": "curl", "n": null}') == {"process": "curl", "n": None}
