"""What keys do to the live view: bytes to keys, and a state and a key to the next state. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from tracer.model.history import History
from tracer.outputs.live.connectionlist import connections_of
from tracer.outputs.live.search import Search
from tracer.outputs.live.table import SORTS, WRONG, arranged
from tracer.outputs.live.window import SPANS, Key, window

Name = TypeVar("Name")

ESCAPE = "escape"
MOST_TYPED = 40
MOST_SKIPPED = 10_000
Change = dict[str, Any]
_SEQUENCES = {
    "up": ("\x1b[A", "\x1bOA"),
    "down": ("\x1b[B", "\x1bOB"),
    "right": ("\x1b[C", "\x1bOC"),
    "left": ("\x1b[D", "\x1bOD"),
    "home": ("\x1b[H", "\x1b[1~", "\x1bOH"),
    "end": ("\x1b[F", "\x1b[4~", "\x1bOF"),
    "page_up": ("\x1b[5~",),
    "page_down": ("\x1b[6~",),
    "enter": ("\r", "\n"),
    "backspace": ("\x7f", "\b"),
    "pause": (" ",),
    ESCAPE: ("\x1b",),
}
_NAMES = {code: name for name, codes in _SEQUENCES.items() for code in codes}
_ONE_KEY = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[@-~])|.", re.DOTALL)
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|O)?$")
_PAGE = 10
_STEPS = {"up": -1, "k": -1, "left": -1, "down": 1, "j": 1, "right": 1, "page_up": -_PAGE, "page_down": _PAGE}
_MOVES = {**_STEPS, "home": -(1 << 16), "end": 1 << 16}


@dataclass(frozen=True)
class ViewState:
    """What the live view shows of the History there is.

    screen: services, detail, connections (of one service), ladder (of one connection), worst (open connections of all services)
    or help. span: of SPANS. chosen: the service that is marked, or shown in detail. connection: the same of connections, by
    its ends_key(). skip: lines of the ladder above the screen. search: the text, none if empty. typing: the text while it is
    being entered. paused: what is shown instead of what is new. mark: words that stay in the title. done: the user has asked to
    quit.
    """

    screen: str = "services"
    span: float = SPANS[0]
    sort: str = WRONG
    chosen: Key | None = None
    connection: int | None = None
    skip: int = 0
    search: str = ""
    typing: str | None = None
    paused: History | None = None
    mark: str = ""
    done: bool = False


def keys(text: str, *, complete: bool) -> tuple[list[str], str]:
    """Return the keys in what a terminal sent, and the rest that may be the beginning of one more.

    complete: nothing has followed for a while, so that an escape character is the key and not the beginning of another.
    """
    rest = "" if complete or not (found := _UNFINISHED.search(text)) else found[0]
    codes = _ONE_KEY.findall(text.removesuffix(rest))
    return [_NAMES.get(code, code) for code in codes if code in _NAMES or len(code) == 1], rest


def press(state: ViewState, key: str, now: History | None) -> ViewState:
    """Return the state after a key; a key that means nothing there changes nothing."""
    if state.typing is not None:
        return _type(state, state.typing, key)
    if key == "q":
        return replace(state, done=True)
    if state.screen == "help":
        return replace(state, screen="services")
    if key in _MOVES:
        return _move(state, _MOVES[key], now)
    return replace(state, **_CHANGES[key](state, now)) if key in _CHANGES else state


def _type(state: ViewState, text: str, key: str) -> ViewState:
    if key == "enter":
        return replace(state, search=_without_zeros(text), typing=None, chosen=None)
    if key == ESCAPE:
        return replace(state, typing=None)
    if key == "backspace":
        return replace(state, typing=text[:-1])
    typed = " " if key == "pause" else key
    return replace(state, typing=(text + typed)[:MOST_TYPED]) if len(typed) == 1 and typed.isprintable() else state


def _without_zeros(text: str) -> str:
    """Return what a search means: a port has no zeros in front, and the beginning of none is everything."""
    text = text.strip()
    return text.lstrip("0") if text.isdigit() else text


def _move(state: ViewState, by: int, now: History | None) -> ViewState:
    """Choose another service or connection, so many rows below the one that is chosen; the first row when none is."""
    shown = state.paused or now
    if shown is None:
        return state
    if state.screen == "ladder":
        return replace(state, skip=min(max(state.skip + by, 0), MOST_SKIPPED))
    if state.screen == "connections" and state.chosen:
        connections = [one.key for one in connections_of(shown, state.chosen)]
        return replace(state, connection=_next(connections, state.connection, by))
    rows = arranged(shown, window(shown, state.span), state.sort, Search(state.search))
    return replace(state, chosen=_next([row.service.key for row in rows], state.chosen, by))


def _next(names: Sequence[Name], chosen: Name | None, by: int) -> Name | None:
    if not names:
        return chosen
    if chosen not in names:
        return names[-1] if by > _PAGE else names[0]
    return names[min(max(names.index(chosen) + by, 0), len(names) - 1)]


def _back(state: ViewState, _now: History | None) -> Change:
    if state.screen == "services":
        return {"search": "", "chosen": None}
    return {"screen": {"ladder": "connections", "connections": "detail"}.get(state.screen, "services")}


def _pause(state: ViewState, now: History | None) -> Change:
    return {"paused": None if state.paused else now}


def _open(state: ViewState, now: History | None) -> Change:
    """Go one step into it: from the services to one, its connections, the ladder of one."""
    if state.screen == "detail":
        return {"screen": "connections", "connection": None}
    found = _move(state, 0, now)
    if state.screen == "connections":
        return {"connection": found.connection, "screen": "ladder", "skip": 0} if found.connection is not None else {}
    return {"chosen": found.chosen, "screen": "detail"} if state.screen == "services" and found.chosen else {}


def _enter_text(state: ViewState, _now: History | None) -> Change:
    return {"typing": state.search, "screen": "services"}


def _next_span(state: ViewState, _now: History | None) -> Change:
    return {"span": SPANS[(SPANS.index(state.span) + 1) % len(SPANS)]}


def _sort(step: int) -> Callable[[ViewState, History | None], Change]:
    return lambda state, _now: {"sort": SORTS[(SORTS.index(state.sort) + step) % len(SORTS)]}


_CHANGES: dict[str, Callable[[ViewState, History | None], Change]] = {
    **dict.fromkeys(("?", "h"), lambda _state, _now: {"screen": "help"}),
    "w": lambda state, _now: {"screen": "services" if state.screen == "worst" else "worst"},
    **dict.fromkeys(("pause", "p"), _pause),
    **dict.fromkeys(("s", ">"), _sort(1)),
    **dict.fromkeys(("S", "<"), _sort(-1)),
    **dict.fromkeys(("/", "f"), _enter_text),
    "t": _next_span,
    "enter": _open,
    ESCAPE: _back,
}
