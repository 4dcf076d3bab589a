"""What keys do to the live view: bytes to keys, and a state and a key to the next state. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tracer.model.history import History
from tracer.outputs.live.table import SORTS, WRONG, Key, arranged

ESCAPE = "escape"
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

    screen: services, detail, worst (open connections of all services) or help. chosen: the service that is marked, or shown in
    detail. port: the filter, none if empty. typing: the filter while it is being entered. paused: what is shown instead of what
    is new. mark: words that stay in the title. done: the user has asked to quit.
    """

    screen: str = "services"
    sort: str = WRONG
    chosen: Key | None = None
    port: str = ""
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
        return replace(state, port=text.lstrip("0"), typing=None, chosen=None)
    if key == ESCAPE:
        return replace(state, typing=None)
    if key == "backspace":
        return replace(state, typing=text[:-1])
    return replace(state, typing=(text + key)[:5]) if key.isascii() and key.isdigit() else state


def _move(state: ViewState, by: int, now: History | None) -> ViewState:
    """Choose another service, so many rows below the one that is chosen; the first row when none is."""
    shown = state.paused or now
    names = [row.service.key for row in arranged(shown, state.sort, state.port)] if shown else []
    if not names:
        return state
    if state.chosen not in names:
        return replace(state, chosen=names[-1] if by > _PAGE else names[0])
    at = names.index(state.chosen) + by
    return replace(state, chosen=names[min(max(at, 0), len(names) - 1)])


def _back(state: ViewState, _now: History | None) -> Change:
    return {"screen": "services"} if state.screen != "services" else {"port": "", "chosen": None}


def _pause(state: ViewState, now: History | None) -> Change:
    return {"paused": None if state.paused else now}


def _open(state: ViewState, now: History | None) -> Change:
    chosen = _move(state, 0, now).chosen
    return {"chosen": chosen, "screen": "detail"} if chosen else {}


def _enter_port(state: ViewState, _now: History | None) -> Change:
    return {"typing": state.port, "screen": "services"}


def _sort(step: int) -> Callable[[ViewState, History | None], Change]:
    return lambda state, _now: {"sort": SORTS[(SORTS.index(state.sort) + step) % len(SORTS)]}


_CHANGES: dict[str, Callable[[ViewState, History | None], Change]] = {
    **dict.fromkeys(("?", "h"), lambda _state, _now: {"screen": "help"}),
    "w": lambda state, _now: {"screen": "services" if state.screen == "worst" else "worst"},
    **dict.fromkeys(("pause", "p"), _pause),
    **dict.fromkeys(("s", ">"), _sort(1)),
    **dict.fromkeys(("S", "<"), _sort(-1)),
    **dict.fromkeys(("/", "f"), _enter_port),
    "enter": _open,
    ESCAPE: _back,
}
