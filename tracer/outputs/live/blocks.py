"""Small tables with a title, set side by side where a screen is wide enough and below each other where not. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from tracer.outputs.live.styled import Line, Piece, cut, length, line

GAP = 3


@dataclass(frozen=True)
class Block:
    """A small table: the first column is to the left, the others are numbers. head: a title, and the names of the others."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def lines(self) -> list[Line]:
        """Return it with columns as wide as what is in them."""
        table = [self.head, *self.rows]
        widths = [max(len(row[i]) for row in table) for i in range(len(self.head))]
        texts = [f"{first:<{widths[0]}}" + "".join(_right(rest, widths[1:])) for first, *rest in table]
        return [line(Piece(text, "" if i else "bold")) for i, text in enumerate(texts)]


def _right(cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    yield from (f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def beside(blocks: Sequence[Block], width: int) -> list[Line]:
    """Return blocks in rows of as many as fit, one column indented, with an empty line between the rows."""
    lines: list[Line] = []
    group: list[list[Line]] = []
    for block in (block.lines() for block in blocks if block.rows):
        if group and _width([*group, block]) > width:
            lines += [*_joined(group, width), ()]
            group = []
        group.append(block)
    return lines + (_joined(group, width) if group else [])


def _width(group: Sequence[Sequence[Line]]) -> int:
    return sum(length(block[0]) + GAP for block in group) - GAP + 1


def _joined(group: Sequence[Sequence[Line]], width: int) -> list[Line]:
    joined = []
    for parts in zip_longest(*group):
        pieces: list[Piece] = [Piece(" ")]
        for block, part in zip(group, parts, strict=True):
            found = part or ()
            pieces += [*found, Piece(" " * (length(block[0]) - length(found) + GAP))]
        joined.append(cut(tuple(pieces[:-1]), width))
    return joined
