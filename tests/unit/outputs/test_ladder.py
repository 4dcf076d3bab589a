"""The life of a connection as text: each script in ladders/ must become the ladder that stands below it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.outputs.drawing import drawn
from tracer.outputs.ladder import Style, head_lines

LADDERS = sorted(Path(__file__).with_name("ladders").glob("*.txt"))
LINE = "-" * 80


def parts(path: Path) -> tuple[str, list[str], list[str]]:
    """Return a file's script, the options in its first line, and the ladder."""
    script, _, ladder = path.read_text(encoding="utf-8").partition(f"{LINE}\n")
    options: list[str] = []
    if script.startswith("options:"):
        first, _, script = script.partition("\n")
        options = first.removeprefix("options:").split()
    return script, options, ladder.splitlines()


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in LADDERS])
def test_a_script_becomes_the_ladder_below_it(path: Path) -> None:
    script, options, ladder = parts(path)
    lines = drawn(script, options)
    assert lines == ladder, "\n".join(lines)


def script_of(name: str) -> str:
    return parts(Path(__file__).parent / "ladders" / f"{name}.txt")[0]


@pytest.mark.parametrize("width", [72, 80, 100, 200])
def test_no_line_is_as_wide_as_the_terminal(width: int) -> None:
    for path in LADDERS:
        script, options, _ = parts(path)
        lines = head_lines(Style(width=width)) + drawn(script, [*options, "explain", f"width={width}"])
        assert max(map(len, lines)) < width, path


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in LADDERS])
def test_ascii_is_ascii_and_puts_everything_in_the_same_place(path: Path) -> None:
    script, options, _ = parts(path)
    fancy = drawn(script, [option for option in options if option != "ascii"])
    plain = drawn(script, [*options, "ascii"])
    assert all(line.isascii() for line in plain)
    if "explain" not in options:
        assert [len(line) for line in plain] == [len(line) for line in fancy]


def test_the_head_names_the_columns_and_says_what_is_dotted() -> None:
    assert head_lines(Style()) == [
        "id       time  our state    us ───────── peer  what",
        "dotted arrow: inferred, not seen · seq, ack: from each side's SYN, which is 0",
    ]
    assert all(line.isascii() for line in head_lines(Style(ascii=True)))


def test_there_are_no_colors_unless_they_are_asked_for() -> None:
    assert not any("\x1b" in line for line in drawn(script_of("two-connections-at-once")))


def test_each_connection_has_a_color_of_its_own() -> None:
    lines = drawn(script_of("two-connections-at-once"), color=True)
    colors: dict[str, set[str]] = {}
    for line in lines:
        match = re.match(r"\x1b\[(\d+)m(c\d)", line)
        assert match, line
        colors.setdefault(match[2], set()).add(match[1])
    assert set(colors) == {"c1", "c2"}
    assert all(len(found) == 1 for found in colors.values())
    assert colors["c1"] != colors["c2"]


def test_colors_change_nothing_but_colors() -> None:
    for path in LADDERS:
        script, options, _ = parts(path)
        painted = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in drawn(script, options, color=True)]
        assert painted == drawn(script, options)


def test_an_explanation_is_given_once_and_the_timer_has_doubled_only_when_it_has() -> None:
    lines = " ".join(drawn(script_of("timed-out-after-retransmissions-of-the-syn"), ["explain", "width=200"]))
    assert lines.count("No answer to SYN") == 1
    assert lines.count("The timer has doubled") == 1
    linear = " ".join(drawn(script_of("two-lost-acks"), ["explain", "width=200"]))
    assert linear.count("The last ACK has not come") == 1


def test_no_process_name_reaches_the_terminal_as_it_is() -> None:
    lines = drawn(script_of("a-hostile-process-name"), ["explain"])
    assert all(line.isprintable() for line in lines)
