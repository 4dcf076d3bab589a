"""Values of options as they are written: ports, durations, and the sizes and times of --rotate."""

from __future__ import annotations

from typing import Any

import pytest
import typer.main

from tracer.cli import command_line
from tracer.commands.options import duration_option, port_numbers
from tracer.commands.rotation import parse_rotation
from tracer.errors import UsageError

VERBS: dict[str, Any] = dict(typer.main.get_command(command_line()).commands)  # type: ignore[attr-defined]


def parsed(verb: str, *arguments: str) -> dict[str, Any]:
    """Return what the function of a verb would be called with."""
    values: dict[str, Any] = VERBS[verb].make_context(verb, list(arguments)).params
    return values


WITH_PORTS = sorted(verb for verb, command in VERBS.items() if any(p.name == "port" for p in command.params))
WITH_DURATION = sorted(verb for verb, command in VERBS.items() if any(p.name == "duration" for p in command.params))
NEEDED = {"record": ["-o", "file"], "replay": ["file"]}


@pytest.mark.parametrize("verb", WITH_PORTS)
def test_ports_are_given_with_commas_and_repeated(verb: str) -> None:
    found = parsed(verb, *NEEDED.get(verb, ()), "--port", "80,443", "--port", "22")
    assert found["port"] == [80, 443, 22]
    assert parsed(verb, *NEEDED.get(verb, ()))["port"] is None


@pytest.mark.parametrize("text", ["", "0", "65536", "http", "80,", "80 443", "-1", "٤", "9" * 5000])
def test_what_is_no_port_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="is not a port") as error:
        port_numbers(text)
    assert "80,443" in (error.value.hint or "")


@pytest.mark.parametrize("verb", WITH_DURATION)
def test_a_duration_is_given_in_seconds_minutes_or_hours(verb: str) -> None:
    texts = {"90": 90, "90s": 90, "5m": 300, "1h": 3600, "0.5": 0.5, "1.5h": 5400}
    assert {text: parsed(verb, *NEEDED.get(verb, ()), "--duration", text)["duration"] for text in texts} == texts


def test_labels_stay_for_an_hour_or_for_ever() -> None:
    assert parsed("run")["label_ttl"] == 3600
    assert parsed("run", "--label-ttl", "5m")["label_ttl"] == 300
    assert parsed("run", "--label-ttl", "0")["label_ttl"] == 0


@pytest.mark.parametrize("text", ["", "s", "5d", "1h30", "-1", "inf", "1e3", "5 m", "٤"])
def test_what_is_no_duration_is_refused_by_the_options_name(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--duration .*is not a duration"):
        duration_option("--duration")(text)


@pytest.mark.parametrize("text", ["0", "0s", "0.0001"])
def test_too_short_a_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="too short"):
        duration_option("--duration")(text)


def test_a_file_is_full_by_size_or_by_time() -> None:
    by_size, by_time = parse_rotation("1.5MB"), parse_rotation("5m")
    assert (by_size(1_499_999, 10**18), by_size(1_500_000, 0)) == (False, True)
    assert (by_time(10**18, 299 * 10**9), by_time(0, 300 * 10**9)) == (False, True)


@pytest.mark.parametrize("text", ["", "100", "5d", "M", "9k", "0.5s", "1 M"])
def test_what_is_neither_size_nor_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--rotate"):
        parse_rotation(text)
