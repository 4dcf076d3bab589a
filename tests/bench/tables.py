"""Plain tables for terminals and READMEs: the first column to the left, numbers to the right, no frames."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return lines of aligned columns; a row with fewer cells than heads lets its last one run on as a remark."""
    whole = [heads, *(row for row in rows if len(row) == len(heads))]
    first = max(len(row[0]) for row in [heads, *rows])
    widths = [first, *(max(len(row[i]) for row in whole) for i in range(1, len(heads)))]
    return "\n".join(_line(row, widths).rstrip() for row in [heads, *rows])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    if len(cells) < len(widths):
        return f"{cells[0]:<{widths[0]}}  {'  '.join(cells[1:])}"
    numbers = (f"{cell:>{width}}" for cell, width in zip(cells[1:], widths[1:], strict=True))
    return "  ".join([f"{cells[0]:<{widths[0]}}", *numbers])


def show(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], *notes: str) -> None:
    """Print a table below its title, with notes after it, a paragraph each."""
    print(f"\n{title}\n\n{table(heads, rows)}", flush=True)
    for note in notes:
        print(fill(note, 79, initial_indent="  ", subsequent_indent="    "), flush=True)
