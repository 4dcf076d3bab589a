"""Lines of a screen: pieces of text that each have a style, as plain text or with a terminal's colours. Pure functions.

Every character is one column wide: what is shown are numbers, addresses and our own words.
"""

from __future__ import annotations

from typing import NamedTuple

_CODES = {"bold": "1", "dim": "2", "good": "32", "warn": "33", "alarm": "1;31", "chosen": "7", "spark": "36"}


class Piece(NamedTuple):
    """Some text in one style: a name of _CODES, or none."""

    text: str
    style: str = ""


Line = tuple[Piece, ...]


def line(*parts: str | Piece) -> Line:
    """Return a line of these parts; a plain string has no style."""
    return tuple(Piece(part) if isinstance(part, str) else part for part in parts)


def plain(pieces: Line) -> str:
    """Return the text alone."""
    return "".join(piece.text for piece in pieces)


def length(pieces: Line) -> int:
    """Return how many columns a line takes."""
    return sum(len(piece.text) for piece in pieces)


def cut(pieces: Line, width: int) -> Line:
    """Return a line of at most so many columns; where something is left out, an ellipsis says so."""
    if length(pieces) <= width:
        return pieces
    kept, room = [], max(width - 1, 0)
    for piece in pieces:
        kept.append(Piece(piece.text[:room], piece.style))
        room -= len(kept[-1].text)
    return (*kept, Piece("…"[:width]))


def restyled(pieces: Line, style: str, width: int) -> Line:
    """Return a line of exactly so many columns that is in one style."""
    return (Piece(plain(cut(pieces, width)).ljust(width), style),)


def encoded(pieces: Line, width: int, *, color: bool) -> str:
    """Return exactly so many columns as a terminal takes them, with ANSI's codes if there are to be colours."""
    padding = " " * (width - length(pieces))
    return "".join(_code(piece) if color else piece.text for piece in pieces) + padding


def _code(piece: Piece) -> str:
    return f"\x1b[{_CODES[piece.style]}m{piece.text}\x1b[0m" if piece.style and piece.text else piece.text
