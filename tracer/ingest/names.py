"""Names that others chose (processes, cgroups, network namespaces), as text that can harm nothing that shows it.

A name is bytes: anybody can put a terminal's control sequences in it, line ends, marks that reverse the direction of writing,
or bytes that are no text. All names pass through here on their way in, so that no output has to care, and all show the same.
"""

from __future__ import annotations

import json
from typing import Any

MAX_NUMBER = 2**62
"""In a JSON document; a time of today in nanoseconds is a third of it."""


def name_text(name: bytes) -> str:
    r"""Return a name up to its first NUL, with bytes and characters that are not visible as escapes such as `\x1b`.

    A backslash stays as it is: units of systemd have escapes of that form in their true names. A line end at the end is left
    out: `echo NAME > /proc/self/comm` leaves one.
    """
    text = name.split(b"\0")[0].rstrip(b"\n").decode(errors="backslashreplace")
    return text if text.isprintable() else "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def cleaned_json(document: bytes) -> Any:
    """Return what a JSON document of unknown origin says, all of its strings as name_text() gives them; raises ValueError.

    So do numbers that are none, or have more than 63 bits.
    """
    found = json.loads(document, parse_int=_small, parse_float=_finite, parse_constant=_finite)
    return _cleaned(found) if b"\\" in document or not document.isascii() else found


def _small(text: str) -> int:
    number = int(text)
    if abs(number) > MAX_NUMBER:
        raise ValueError("a number is too large")
    return number


def _finite(text: str) -> float:
    number = float(text)
    if not abs(number) <= MAX_NUMBER:
        raise ValueError("a number is too large, or none")
    return number


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return name_text(value.encode(errors="backslashreplace"))
    if isinstance(value, dict):
        return {_cleaned(name): _cleaned(content) for name, content in value.items()}
    return [_cleaned(each) for each in value] if isinstance(value, list) else value
