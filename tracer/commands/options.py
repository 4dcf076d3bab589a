"""Options that several commands share, each written once: their types, help and checks."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from tracer.errors import UsageError
from tracer.model.labelnames import OPTIONAL
from tracer.outputs.limits import LEAST

_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)([smh]?)", re.ASCII)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}
UNITS = ("s", "m", "h")

MOST_ENTRIES = 1 << 24
"""What --max-connections may be: 5.3 GiB of the kernel's memory."""


def is_colored(context: typer.Context) -> bool:
    """Return whether standard output has colors: as --color says, by default on a terminal unless NO_COLOR is set."""
    if context.obj is not None:
        return bool(context.obj)
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def format_option(names: Sequence[str], explained: str) -> Any:
    """Return the option --format of a verb, whose parameter is called format_name; --json comes with it (see verb.py).

    It raises UsageError for a format that is not among the names.
    """

    def checked(name: str) -> str:
        return known_format(name, names)

    return typer.Option("--format", metavar="|".join(names), callback=checked, help=explained)


def known_format(name: str, names: Sequence[str]) -> str:
    """Return the name of a format; raises UsageError for one that is not among the names."""
    if name not in names:
        raise UsageError(f"--format {name} is not known", f"choose from {', '.join(names)}")
    return name


TEXT_FORMATS = ("text", "json")
TABLE_FORMATS = ("table", "json")
TextOrJson = Annotated[str, format_option(TEXT_FORMATS, "text: for people; json: one object.")]
TableOrJson = Annotated[str, format_option(TABLE_FORMATS, "table: for people; json: one object.")]


def seconds_of(text: str) -> float | None:
    """Return a duration given as 90, 90s, 5m or 1h, in seconds; None for what is none."""
    found = _DURATION.fullmatch(text)
    return float(found[1]) * _SECONDS[found[2]] if found else None


def duration_option(name: str, *, least: float = 0.001) -> Callable[[Any], float]:
    """Return what reads the duration of an option, given as 90, 90s, 5m or 1h, in seconds; it raises UsageError.

    least: in seconds. A default, which is a number already, stays as it is.
    """

    def parse(text: Any) -> float:
        seconds = seconds_of(str(text))
        if seconds is None:
            raise UsageError(f"{name} {text} is not a duration", "give seconds, or a number with s, m or h: 90, 90s, 5m, 1h")
        if seconds < least:
            raise UsageError(f"{name} {text} is too short", f"give {least:g} s at least")
        return seconds

    return parse


def port_numbers(text: str) -> list[int]:
    """Return the ports of one --port, 80 or 80,443; raises UsageError for what is no port."""
    numbers = [int(word) if word.isascii() and word.isdigit() and len(word) < 9 else 0 for word in text.split(",")]
    if any(not 0 < number < 65536 for number in numbers):
        raise UsageError(f"--port {text} is not a port", "give numbers from 1 to 65535: 443, or 80,443")
    return numbers


def _joined(several: Sequence[Sequence[int]] | None) -> list[int] | None:
    return [number for numbers in several for number in numbers] if several else None


FILTERS = "Filters (all given kinds must hold)"
"""The heading under which the help has the options that choose among connections."""


def _filter(name: str, explained: str, **settings: Any) -> Any:
    return typer.Option(name, rich_help_panel=FILTERS, help=explained, **settings)


Ports = Annotated[
    list[int] | None,
    _filter("--port", "Only these service ports (repeatable).", metavar="N,...", parser=port_numbers, callback=_joined),
]
Addresses = Annotated[list[str] | None, _filter("--address", "Only this network, of either side (repeatable).", metavar="CIDR")]
Role = Annotated[str | None, _filter("--role", "Only one side of connections.", metavar="client|server")]
Pid = Annotated[int | None, _filter("--pid", "Only what a process opens, or what comes to its listeners.", metavar="N", min=1)]
RecordedPid = Annotated[int | None, _filter("--pid", "Only events of this process.", metavar="N", min=1)]
Cgroup = Annotated[str | None, _filter("--cgroup", "Only sockets of this cgroup (v2), and below.", metavar="PATH")]
Netns = Annotated[str, _filter("--netns", "All network namespaces, or our own.", metavar="all|own")]
Duration = Annotated[
    float | None,
    typer.Option("--duration", metavar="TIME", parser=duration_option("--duration"), help="Stop after 90, 90s, 5m, 1h."),
]
LiveView = Annotated[
    bool | None, typer.Option("--view/--no-view", help="Live view, or lines now and then; default: view on a terminal.")
]
MoreLabels = Annotated[
    list[str] | None, typer.Option("--label", metavar="NAME,...", help=f"More labels: {', '.join(OPTIONAL)} (repeatable).")
]
PeerGroupTexts = Annotated[
    list[str] | None,
    typer.Option("--peer-group", metavar="NAME=CIDR", help="Name a network of peers, for the label peer_group (repeatable)."),
]
PeerRest = Annotated[
    str, typer.Option("--peer-rest", metavar="network|other", help="Peers of no group: by /24 and /48, or all as 'other'.")
]
MaxSeries = Annotated[
    int, typer.Option("--max-series", metavar="N", min=LEAST, help="Samples in /metrics at most; others: 'other'.")
]
MaxConnections = Annotated[
    int | None,
    typer.Option(
        "--max-connections",
        metavar="N",
        min=1,
        max=MOST_ENTRIES,
        show_default=False,
        help="Connections open at once, 336 bytes each; default: 262144, or what fits into a 64th of the memory.",
    ),
]
LabelTtl = Annotated[
    float,
    typer.Option(
        "--label-ttl",
        metavar="TIME",
        parser=duration_option("--label-ttl", least=0),
        show_default=False,
        help="A label set idle for so long leaves; default: 1h; 0: never.",
    ),
]
UserName = Annotated[
    str | None, typer.Option("--user", metavar="NAME", help="Run as this user; default: who called sudo, else nobody.")
]
Recording = Annotated[
    Path, typer.Argument(metavar="FILE", readable=False, show_default=False, help="A file made by 'tcptrace record'.")
]

WebConfig = Annotated[
    Path | None,
    typer.Option("--web-config", metavar="FILE", help="TLS and passwords for /metrics, as in Prometheus's exporters."),
]

DEFAULT_LISTEN = "127.0.0.1:19293"
