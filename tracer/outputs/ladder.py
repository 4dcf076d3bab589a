"""A connection's life as a ladder: steps in, lines out. Pure; the width and what the terminal can do are arguments.

    id      time  our state    us ───────── peer  what
    c1  curl/331 connects, descriptor 5: 10.0.0.1 > 10.0.0.2:443
    c1   0.00 µs  SYN_SENT     ──SYN──────────▶  port 40312, seq 2718281828
    c1    1.02 s               ──SYN──────────▶  seq 2718281828, attempt 1: RTO, 1.02 s after the last
    c1    1.03 s  ESTABLISHED  ◀──SYN,ACK──────  seq 3141592653, ack ours+1; 1.03 s in SYN_SENT

Where both ends are on this machine there are two columns of states and one clock:

    b1    0 s     SYN_SENT    ──SYN────────▶ SYN_RECV     port 40312, seq 2718281828

What was not seen but must have been there has a dotted arrow. What finds no room goes on below. Everything is made of line-
drawing characters first; --ascii replaces them one by one, so that both look alike.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tracer.model.follow.steps import BEGINNINGS, OUT, Step
from tracer.outputs.explain import explanation
from tracer.outputs.spark import BARS, series_spark
from tracer.outputs.units import bytes_text, count_text, time_text
from tracer.outputs.wording import words

ID, TIME, STATE, ARROW, GAP = 4, 9, 11, 16, "  "
ARROW_AT = ID + TIME + len(GAP) + STATE + len(GAP)
WORDS_AT = ARROW_AT + ARROW + len(GAP)
LABEL = 17
BOTH_ARROW = 14
"""Columns of an arrow between two states."""

THERE_AT = ARROW_AT - 1 + BOTH_ARROW + 1
BOTH_WORDS_AT = THERE_AT + STATE + len(GAP)
NARROWEST = 72

FULL_WIDTH = {*BEGINNINGS, "paired"}
"""Steps that have a line of their own kind."""

PALETTE = (36, 33, 35, 32, 34, 96, 93, 95)
BOLD, DIM, RED = 1, 2, 31
ALARMS = {"retransmission", "reset_received", "reset_sent", "failed", "gap"}

BOUND = re.compile(r"(?<=\d) (?=(?:[µm]?s|[kMGT]?B|segments?)\b)|(?<=RFC) | (?=§)")
"""Spaces at which no line is broken."""

TO_ASCII = str.maketrans("─═┄▶◀✗│µ·" + BARS, "-=.><x|u-_.-~=+*#")

MEASURES: Mapping[str, tuple[str, Callable[[float], str], str]] = {
    "congestion_window": ("cwnd", count_text, " segments"),
    "slow_start_threshold": ("ssthresh", count_text, " segments"),
    "srtt_seconds": ("srtt", time_text, ""),
    "send_window": ("peer's window", lambda value: bytes_text(round(value)), ""),
    "receive_window": ("our window", lambda value: bytes_text(round(value)), ""),
}
"""How each series at the end is called, what its values read like, and their unit."""


@dataclass(frozen=True)
class Style:
    """width: of the terminal, in columns. ascii: no other characters. color: with escapes. explain: a sentence to each step."""

    width: int = 80
    ascii: bool = False
    color: bool = False
    explain: bool = False


def head_lines(style: Style) -> list[str]:
    """Return what stands above the first step: the columns, and what a dotted arrow means."""
    columns = f"{'id':<{ID}}{'time':>{TIME}}{GAP}{'our state':<{STATE}}{GAP}us ───────── peer{GAP}what"
    legend = "dotted arrow: inferred, not seen · seq, ack: from each side's SYN, which is 0"
    return [_plain(line, style) for line in (columns, *_wrap(legend, _width(style), style))]


def ladder_lines(steps: Sequence[Step], style: Style, told: set[str] | None = None) -> list[str]:
    """Return the lines of these steps, each narrower than the terminal, if that has NARROWEST columns.

    told: the explanations that were given before, which are not given again; these steps' are added.
    """
    told = set() if told is None else told
    return [line for step in steps for line in _lines(step, style, told)]


def _lines(step: Step, style: Style, told: set[str]) -> list[str]:
    if step.kind == "measured":
        return _measured(step, style)
    draw = _begin if step.kind in FULL_WIDTH else _between if step.joined else _rung
    lines = draw(step, style)
    return lines + (_explained(step, style, told) if style.explain else [])


def _begin(step: Step, style: Style) -> list[str]:
    state = f" in {step.entered.upper()}" if step.entered else ""
    parts = _wrap(words(step) + state, _width(style) - ID, style)
    return [_id(step, style) + _paint(_plain(part, style), style, BOLD) for part in parts]


def _rung(step: Step, style: Style) -> list[str]:
    """Return the line of a step, and below it what of its words found no room."""
    time = "" if step.seconds is None else _seconds(step.seconds)
    left = f"{time:>{TIME}}{GAP}{step.entered.upper():<{STATE}}{GAP}"
    at = WORDS_AT if step.way else ARROW_AT
    parts = _wrap(words(step), _width(style) - at, style) or [""]
    arrow = (
        _paint(_plain(_arrow(step, ARROW, rightwards=step.way == OUT), style), style, *_tone(step)) + GAP if step.way else ""
    )
    first = _paint(_plain(left, style), style, *([BOLD] if step.entered else [])) + arrow
    tone = _tone(step) if not step.way else ()
    lines = [first + _paint(_plain(parts[0], style), style, *tone)]
    lines += [" " * (at - ID) + _paint(_plain(part, style), style, *tone) for part in parts[1:]]
    return [(_id(step, style) + line).rstrip() for line in lines]


def _between(step: Step, style: Style) -> list[str]:
    """Return the line of a step where both ends are known: the client's state, an arrow, the server's state, words."""
    is_client = step.who.role == "client"
    here, there = step.entered.upper(), step.there.upper()
    client, server = (here, there) if is_client else (there, here)
    time = "" if step.seconds is None else _seconds(step.seconds)
    rightwards = is_client == (step.way == OUT)
    arrow = _arrow(step, BOTH_ARROW, rightwards=rightwards) if step.way else " " * BOTH_ARROW
    at = BOTH_WORDS_AT if step.way or server else ARROW_AT - 1 if is_client else THERE_AT
    parts = _wrap(words(step), _width(style) - at, style) or [""]
    columns = (
        _paint(_plain(f"{time:>{TIME}}{GAP}{client:<{STATE}} ", style), style, *([BOLD] if client else [])),
        _paint(_plain(f"{arrow} ", style), style, *_tone(step)),
        _paint(_plain(f"{server:<{STATE}}{GAP}", style), style, *([BOLD] if server else [])),
    )
    shown = 3 if at == BOTH_WORDS_AT else 2 if at == THERE_AT else 1
    tone = _tone(step) if not step.way else ()
    lines = ["".join(columns[:shown]) + _paint(_plain(parts[0], style), style, *tone)]
    lines += [" " * (at - ID) + _paint(_plain(part, style), style, *tone) for part in parts[1:]]
    return [(_id(step, style) + line).rstrip() for line in lines]


def _seconds(seconds: float) -> str:
    if not seconds:
        return "0 s"
    return f"-{time_text(-seconds)}" if seconds < 0 else time_text(seconds)


def _arrow(step: Step, width: int, *, rightwards: bool) -> str:
    """Return a line with its control bits, or the bytes that it carries: double for data, dotted for what was inferred."""
    stroke = "┄" if step.inferred else "═" if step.payload and not step.bits else "─"
    label = ",".join(step.bits) or (f" {_bytes(step)} " if step.payload else "data")
    never_left = step.kind == "retransmission" and step.facts["error"]
    body = f"{stroke * 2}{label}".ljust(width - 1, stroke)
    if rightwards:
        return f"{body}{'✗' if never_left else '▶'}"
    return f"{'✗' if never_left else '◀'}{body}"


def _bytes(step: Step) -> str:
    return f"{step.payload} B" if step.payload < 10_000_000 else bytes_text(step.payload)


def _tone(step: Step) -> tuple[int, ...]:
    if step.inferred:
        return (DIM,)
    return (RED,) if step.kind in ALARMS else ()


def _explained(step: Step, style: Style, told: set[str]) -> list[str]:
    text = explanation(step)
    if text in told:
        return []
    told.add(text)
    text = f"{step.who.role.capitalize()}: {text}" if step.joined and text and step.kind != "paired" else text
    indent = " " * (TIME + len(GAP)) + "│ "
    parts = _wrap(text, _width(style) - ID - len(indent), style) if text else []
    return [_id(step, style) + _paint(_plain(indent + part, style), style, DIM) for part in parts]


def _measured(step: Step, style: Style) -> list[str]:
    """Return a sparkline for each series."""
    lines = []
    for name, values in step.facts.items():
        label, text, unit = MEASURES[name]
        label = f"{step.who.role[0]}: {label}" if step.joined else label
        extremes = " to ".join(dict.fromkeys((text(min(values)), text(max(values)))))
        room = _width(style) - ARROW_AT - LABEL - len(extremes + unit) - len(GAP)
        line = f"{label:<{LABEL}}{series_spark(values, max(room, 4))}{GAP}{extremes}{unit}"
        lines.append(_id(step, style) + " " * (ARROW_AT - ID) + _plain(line, style))
    return lines


def _id(step: Step, style: Style) -> str:
    role = {"client": "c", "server": "s"}.get(step.who.role, "x")
    letter = "b" if step.joined else "l" if step.kind == "listening" else role
    number = step.joined or step.who.number
    return _paint(f"{letter}{number}".ljust(ID - 1) + " ", style, PALETTE[number % len(PALETTE)])


def _width(style: Style) -> int:
    """Return how many columns are used: all but the last, behind which some terminals break the line."""
    return max(style.width, NARROWEST) - 1


def _wrap(text: str, width: int, style: Style) -> list[str]:
    """Return the lines of a text; a number and its unit stay together."""
    bound = BOUND.sub("\N{NO-BREAK SPACE}", text.replace("§", "section ") if style.ascii else text)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in textwrap.wrap(bound, width, break_on_hyphens=False)]


def _plain(text: str, style: Style) -> str:
    return text.translate(TO_ASCII).encode("ascii", "backslashreplace").decode() if style.ascii else text


def _paint(text: str, style: Style, *codes: int) -> str:
    if not style.color or not codes or not text.strip():
        return text
    return f"\x1b[{';'.join(map(str, codes))}m{text}\x1b[0m"
