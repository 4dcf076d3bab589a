from __future__ import annotations

import pytest

from tests.unit.outputs.live.screens import of_connections, of_many_services, of_nothing
from tracer.model.history import History
from tracer.outputs.live.keys import ViewState, keys, press
from tracer.outputs.live.table import SORTS

NOW = of_many_services(20)
BY_COUNT = ViewState(sort="count")
FIRST, SECOND, LAST = ("client", "1019"), ("client", "1018"), ("client", "1000")


def after(*pressed: str, state: ViewState | None = None, now: History | None = NOW) -> ViewState:
    state = state or BY_COUNT
    for key in pressed:
        state = press(state, key, now)
    return state


def test_letters_and_sequences_are_keys() -> None:
    assert keys("s\x1b[A\x1bOB\r\x7f ?", complete=False) == (["s", "up", "down", "enter", "backspace", "pause", "?"], "")


def test_an_escape_is_a_key_only_when_nothing_follows_for_a_while() -> None:
    assert keys("\x1b", complete=False) == ([], "\x1b")
    assert keys("\x1b", complete=True) == (["escape"], "")
    assert keys("s\x1b[", complete=False) == (["s"], "\x1b[")


def test_sequences_that_mean_nothing_here_are_no_keys() -> None:
    assert keys("\x1b[15~\x1b[1;5Cq", complete=False) == (["q"], "")


def test_s_goes_through_every_column_and_back() -> None:
    seen = [after(*"s" * n).sort for n in range(len(SORTS) + 1)]
    assert set(seen) == set(SORTS)
    assert seen[0] == seen[-1] == after("s", "S").sort == after(">", "<").sort


def test_arrows_choose_a_service_and_stop_at_the_ends() -> None:
    assert after("down").chosen == FIRST
    assert after("down", "j").chosen == SECOND
    assert after("down", "down", "k", "up", "up").chosen == FIRST
    assert after("end").chosen == after("down", "page_down", "page_down", "page_down").chosen == LAST
    assert after("end", "home").chosen == FIRST


def test_the_choice_stays_with_a_service_when_rows_move() -> None:
    assert after("down", "s", "s").chosen == FIRST


def test_enter_opens_the_chosen_service_and_escape_goes_back() -> None:
    opened = after("down", "down", "enter")
    assert (opened.screen, opened.chosen) == ("detail", SECOND)
    assert after("escape", state=opened).screen == "services"
    assert after("down", state=opened).chosen == ("client", "1017")


def test_enter_opens_the_first_when_none_is_chosen_and_nothing_when_there_is_none() -> None:
    assert after("enter").chosen == FIRST
    for now in (None, of_nothing()):
        assert after("enter", "down", now=now) == BY_COUNT


def test_pause_keeps_what_is_there_until_it_is_pressed_again() -> None:
    assert after("pause").paused is NOW
    assert after("p", "pause").paused is None


def test_digits_and_enter_filter_by_port() -> None:
    typing = after("/", *"443")
    assert (typing.typing, typing.search) == ("443", "")
    assert after("enter", state=typing) == ViewState(sort="count", search="443")
    assert after("f", *"44", "backspace", *"3", "enter").search == "43"


def test_escape_ends_the_typing_and_takes_the_filter_away() -> None:
    assert after("/", "8", "escape") == BY_COUNT
    assert after("/", "8", "enter", "escape") == BY_COUNT
    assert after("/", "8", "enter", "/", "backspace", "enter") == BY_COUNT


def test_text_with_blanks_can_be_looked_for_and_is_bounded() -> None:
    assert after("/", *"web", "pause", *"1", "enter").search == "web 1"
    assert after("/", *"a" * 50).typing == "a" * 40
    assert after("/", *"0044", "enter").search == "44"


def test_t_goes_through_the_spans() -> None:
    assert [after(*"t" * n).span for n in range(4)] == [60, 10, 0, 60]


def test_enter_goes_from_a_service_to_its_connections_and_to_the_ladder_of_one_and_escape_back() -> None:
    now = of_connections()
    state, screens = BY_COUNT, []
    for key in ("enter", "enter", "down", "enter", "escape", "escape", "escape"):
        state = press(state, key, now)
        screens.append(state.screen)
    assert screens == ["detail", "connections", "connections", "ladder", "connections", "detail", "services"]
    assert state.connection is not None


def test_a_ladder_is_scrolled() -> None:
    drawn = after("enter", "enter", "enter", now=of_connections())
    assert (drawn.screen, drawn.skip) == ("ladder", 0)
    assert after("down", "down", "up", state=drawn).skip == 1


def test_q_quits_but_not_while_typing() -> None:
    assert after("q").done
    assert after("?", "q").done
    assert not after("/", "q").done


@pytest.mark.parametrize("key", ["?", "h"])
def test_help_comes_and_goes_with_any_key(key: str) -> None:
    assert after(key).screen == "help"
    assert after(key, "s") == BY_COUNT


def test_keys_that_mean_nothing_change_nothing() -> None:
    assert after("x", "é", "\x01") == BY_COUNT


def test_w_shows_what_is_worst_and_goes_back() -> None:
    assert after("w").screen == "worst"
    assert after("w", "w").screen == after("w", "escape").screen == "services"
    assert after("w", "q").done
