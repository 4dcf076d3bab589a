"""The command as its users meet it: real processes, their output, and how they end."""

from __future__ import annotations

import json
import re
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import typer.main

from tests.needs import ROOT
from tests.unit.command import as_ordinary_user, failed, tcptrace
from tracer import __version__
from tracer.cli import VERBS, command_line, needed

COMMANDS: dict[str, Any] = dict(typer.main.get_command(command_line()).commands)  # type: ignore[attr-defined]


def test_the_version_is_the_packages() -> None:
    result = tcptrace("--version")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"tcptrace {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["run", "--help"], ("run",)),
        (["--no-color", "report", "run"], ("report",)),
        (["help", "report"], ("report",)),
        (["help"], VERBS),
        (["--version"], ()),
        (["runn", "run"], VERBS),
        (["--help"], VERBS),
        ([], VERBS),
    ],
)
def test_only_the_verb_that_is_asked_for_is_imported(arguments: list[str], wanted: tuple[str, ...]) -> None:
    assert needed(arguments) == wanted


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_lists_every_command_with_what_it_does(option: str) -> None:
    result = tcptrace(option)
    assert result.returncode == 0
    assert result.stderr == ""
    assert {"run", "record", "replay", "doctor"} <= set(COMMANDS)
    for name, command in COMMANDS.items():
        first_words = " ".join(str(command.help).split()[:3])
        assert re.search(rf"\b{name} +{re.escape(first_words)}", result.stdout), name


@pytest.mark.parametrize("name", VERBS)
def test_a_commands_help_shows_every_option_and_explains_it(name: str) -> None:
    result = tcptrace(name, "--help")
    assert result.returncode == 0
    # what the box around it, and the wrapping of lines, leave
    shown = " ".join(re.sub(r"[│╭╮╰╯─|+]", " ", result.stdout).split())
    for parameter in COMMANDS[name].params:
        assert parameter.help, parameter.name
        assert " ".join(parameter.help.split()[:2]) in shown
        for option in (*parameter.opts, *parameter.secondary_opts):
            assert option in shown or not option.startswith("-")


def test_help_and_a_verb_is_that_verbs_help() -> None:
    assert tcptrace("help", "run").stdout == tcptrace("run", "--help").stdout != ""
    assert tcptrace("help").stdout.strip() == tcptrace("--help").stdout.strip()
    wrong = tcptrace("help", "runn")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "there is no verb runn" in wrong.stderr


def test_without_a_command_the_help_is_shown() -> None:
    result = tcptrace()
    assert "Usage: " in result.stdout + result.stderr
    assert result.returncode in {0, 2}


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["--no-such-option"],
        ["replay"],
        ["replay", "--speed", "0", "file"],
        ["replay", "--speed", "fast", "file"],
        ["replay", "--max-series", "1", "file"],
        ["run", "--max-connections", "0"],
        ["record", "--max-connections", "16777217", "-o", "file"],
        ["record"],
        ["run", "surplus"],
        ["run", "--port", "0"],
        ["run", "--port", "65536"],
        ["run", "--port", "80,"],
        ["run", "--port", "80,443-445"],
        ["run", "--port", "http"],
        ["run", "--pid", "0"],
        ["run", "--pid", "99999999"],
        ["run", "--role", "both"],
        ["run", "--netns", "none"],
        ["run", "--address", "10.0.0.256"],
        ["run", "--cgroup", "/no/such/cgroup"],
        ["run", "--duration", "0"],
        ["run", "--duration", "long"],
        ["audit", "--duration", "5 m"],
        ["report", "--duration", "1d"],
        ["run", "--label-ttl", "-1"],
        ["run", "--listen", ":http"],
        ["follow", "--format", "csv"],
        ["follow", "--count", "0"],
    ],
    ids=" ".join,
)
def test_bad_usage_exits_2_and_says_what_is_wrong(arguments: list[str]) -> None:
    result = tcptrace(*arguments)
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    named = [word for word in arguments if word.startswith("--")] or ["Usage: "]
    assert named[0] in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--duration", "1"],
        ["run", "--port", "443", "--json"],
        ["record", "-o", "recording"],
        ["follow", "--port", "443", "--explain"],
    ],
)
def test_unprivileged_the_missing_capability_is_named_with_the_command_that_has_it(words: list[str], tmp_path: Path) -> None:
    program = tmp_path / "a directory" / "tcptrace"
    listen = ["--listen", "127.0.0.1:0"] if words[0] == "run" else []
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o777)
        words = [f"{directory}/recording" if word == "recording" else word for word in words]
        what, hint = failed(as_ordinary_user(program, *words, *listen))
    assert what.startswith("loading BPF programs needs CAP_BPF and CAP_PERFMON, which ")
    command = hint.splitlines()[0]
    assert shlex.split(command) == ["sudo", str(program.resolve()), *words, *listen]
    assert "tcptrace replay" in hint


def test_unprivileged_the_doctor_says_so_and_exits_1(tmp_path: Path) -> None:
    result = as_ordinary_user(tmp_path / "tcptrace", "doctor", "--json")
    assert result.returncode == 1, result.stderr
    findings = {row["name"]: row for row in json.loads(result.stdout)["findings"]}
    assert findings["privileges"]["status"] == "problem"
    assert "CAP_BPF" in findings["privileges"]["detail"]
    assert "sudo" in findings["privileges"]["remedy"]
    assert findings["kernel"]["status"] == "ok"


def test_started_as_a_module_the_command_with_privileges_starts_it_as_one_too() -> None:
    what, hint = failed(as_ordinary_user(ROOT / "tracer/__main__.py", "run", "--listen", "127.0.0.1:0"))
    assert "CAP_BPF" in what
    assert shlex.split(hint.splitlines()[0]) == ["sudo", sys.executable, "-m", "tracer", "run", "--listen", "127.0.0.1:0"]
