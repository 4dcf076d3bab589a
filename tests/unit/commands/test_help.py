"""The help at 80 columns: what it begins with, that its examples work, and the options that every verb has."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import typer.main

from tracer.cli import VERBS, command_line
from tracer.commands.helptexts import EXAMPLES, SUMMARIES
from tracer.errors import UsageError

COMMANDS: dict[str, Any] = dict(typer.main.get_command(command_line()).commands)  # type: ignore[attr-defined]
WITH_FORMAT = sorted(name for name, command in COMMANDS.items() if any(p.name == "format_name" for p in command.params))
NEEDED = {"replay": ["file", "events"]}
SCREEN = 24


def help_of(verb: str) -> str:
    context = COMMANDS[verb].make_context(verb, [], resilient_parsing=True, terminal_width=80)
    return str(COMMANDS[verb].get_help(context))


@pytest.mark.parametrize("verb", VERBS)
def test_the_first_screen_has_what_a_verb_does_and_two_examples(verb: str) -> None:
    text = help_of(verb)
    screen = "\n".join(text.splitlines()[:SCREEN])
    assert screen.startswith(f"Usage: {verb} ")
    assert [example for example, _ in EXAMPLES[verb] if f"  {example}" not in screen] == []
    assert "\nOptions:\n" in screen


@pytest.mark.parametrize("verb", VERBS)
def test_at_80_columns_no_line_is_longer_and_no_word_is_broken(verb: str) -> None:
    text = help_of(verb)
    assert max(map(len, text.splitlines())) <= 80
    words = set(re.findall(r"[\w|/-]+", text))
    for parameter in COMMANDS[verb].params:
        explained = re.findall(r"[\w|/-]+", parameter.help or "")
        names = [name for name in parameter.opts if name.startswith("-")]
        assert [word for word in (*names, *explained) if word not in words] == []


@pytest.mark.parametrize("verb", VERBS)
def test_filters_are_under_their_own_heading(verb: str) -> None:
    options, _, filters = help_of(verb).partition("\nFilters")
    for name in ("--port", "--address", "--role", "--pid", "--cgroup", "--netns"):
        assert not re.search(rf"^  {name} ", options, flags=re.MULTILINE)
        has = any(name in parameter.opts for parameter in COMMANDS[verb].params)
        assert bool(re.search(rf"^  {name} ", filters, flags=re.MULTILINE)) == has


@pytest.mark.parametrize(("verb", "example"), [(verb, text) for verb, pair in EXAMPLES.items() for text, _ in pair])
def test_an_example_is_a_command_that_can_be_typed(verb: str, example: str) -> None:
    words = shlex.split(re.split(r"[>|]", example.removeprefix("sudo "))[0])
    assert words[:2] == ["tcptrace", verb]
    COMMANDS[verb].make_context(verb, words[2:])


def test_every_verb_has_its_line_and_its_examples() -> None:
    assert tuple(EXAMPLES) == VERBS
    assert tuple(SUMMARIES) == (*VERBS, "help")
    assert {name: COMMANDS[name].get_short_help_str() for name in COMMANDS} == SUMMARIES


@pytest.mark.parametrize("verb", WITH_FORMAT)
def test_json_is_asked_for_in_two_ways(verb: str) -> None:
    needed = NEEDED.get(verb, [])
    both = [COMMANDS[verb].make_context(verb, [*needed, *asked]).params for asked in (["--json"], ["--format", "json"])]
    assert both[0] == both[1]
    assert both[0]["format_name"] == "json"
    assert COMMANDS[verb].make_context(verb, needed).params["format_name"] != "json"


def test_every_verb_that_has_json_has_it_in_both_ways() -> None:
    assert set(WITH_FORMAT) == {*VERBS} - {"record", "dashboard", "rules"}


def test_two_formats_at_once_are_refused() -> None:
    with pytest.raises(UsageError, match="--json and --format csv"):
        COMMANDS["events"].make_context("events", ["--json", "--format", "csv"])


@pytest.mark.parametrize("verb", [verb for verb in WITH_FORMAT if verb != "replay"])  # its formats hang on its VERB
def test_an_unknown_format_is_refused_with_those_that_there_are(verb: str) -> None:
    with pytest.raises(UsageError, match="--format nonsense is not known") as error:
        COMMANDS[verb].make_context(verb, ["--format", "nonsense"])
    assert "json" in (error.value.hint or "")


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("before", "after", "wanted"), [(None, [], None), (None, ["--color"], True), (True, ["--no-color"], False)]
)
def test_color_is_asked_for_before_and_after_the_verb(
    verb: str, before: bool | None, after: list[str], wanted: bool | None
) -> None:
    needed = {"record": ["-o", "file"], "replay": ["file"]}.get(verb, [])
    assert COMMANDS[verb].make_context(verb, [*needed, *after], obj=before).obj is wanted
