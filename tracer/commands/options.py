"""Options that several commands share, each written once: their types, help and checks.

What checking them needs and takes long to import is imported only then: `run` has the loader at work meanwhile.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tracer.errors import UsageError
from tracer.kernel.filters import Filters
from tracer.model.labelnames import OPTIONAL, optional_names
from tracer.outputs.limits import LEAST

if TYPE_CHECKING:
    from tracer.model.peers import PeerGroups
    from tracer.outputs.web.access import Access

Ports = Annotated[list[int] | None, typer.Option("--port", min=1, max=65535, help="Only this service port (repeatable).")]
Addresses = Annotated[
    list[str] | None, typer.Option("--address", metavar="CIDR", help="Only this network, of either side (repeatable).")
]
Role = Annotated[str | None, typer.Option("--role", metavar="client|server", help="Only one side of connections.")]
Pid = Annotated[int | None, typer.Option("--pid", min=1, help="Only what this process opens, or what comes to its listeners.")]
RecordedPid = Annotated[int | None, typer.Option("--pid", min=1, help="Only events of this process.")]
Cgroup = Annotated[str | None, typer.Option("--cgroup", metavar="PATH", help="Only sockets of this cgroup (v2), and below.")]
Netns = Annotated[str, typer.Option("--netns", metavar="all|own", help="All network namespaces, or tcptrace's own.")]
Duration = Annotated[float | None, typer.Option("--duration", metavar="S", min=0.001, help="Stop after this many seconds.")]
Json = Annotated[bool, typer.Option("--json", help="End with one JSON object on standard output.")]
View = Annotated[
    bool | None, typer.Option("--view/--no-view", help="Live view, or a line a second; default: view on a terminal.")
]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="|".join(OPTIONAL), help="One more label on everything counted (repeatable, or a,b)."),
]
PeerGroupTexts = Annotated[
    list[str] | None,
    typer.Option("--peer-group", metavar="NAME=CIDR", help="Name a network of peers, for the label peer_group (repeatable)."),
]
PeerRest = Annotated[
    str, typer.Option("--peer-rest", metavar="network|other", help="Peers of no group: by /24 and /48, or all as 'other'.")
]
MaxSeries = Annotated[int, typer.Option("--max-series", min=LEAST, help="Samples in /metrics, at most; the rest is 'other'.")]
LabelTtl = Annotated[
    str, typer.Option("--label-ttl", metavar="TIME", help="A label set idle for so long leaves: 90, 90s, 5m, 1h; 0: never.")
]
UserName = Annotated[
    str | None, typer.Option("--user", metavar="NAME", help="Serve as this user; default: who called sudo, else nobody.")
]
Recording = Annotated[
    Path, typer.Argument(metavar="FILE", readable=False, show_default=False, help="A file made by 'tcptrace record'.")
]

WebConfig = Annotated[
    Path | None,
    typer.Option("--web-config", metavar="FILE", help="TLS and passwords for /metrics, as in Prometheus's exporters."),
]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smh]?)", re.ASCII)
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}

DEFAULT_LABEL_TTL = "1h"
DEFAULT_LISTEN = "127.0.0.1:19293"


def access(web_config: Path | None) -> Access:
    """Return who may ask for the metrics; raises TcptraceError when the file will not do."""
    if web_config is None:
        from tracer.outputs.web.access import Access  # noqa: PLC0415 - see above

        return Access()
    from tracer.outputs.web.webconfig import read_access  # noqa: PLC0415 - megabytes that only this option needs

    return read_access(web_config)


def label_names(names: list[str] | None, groups: list[str] | None) -> tuple[str, ...]:
    """Return the labels that the options add, of which groups of peers are one; raises UsageError."""
    more = ["peer_group"] if groups else []
    return optional_names([*(names or ()), *more])


def peers(groups: list[str] | None, rest: str) -> PeerGroups:
    """Return the groups of peers; raises UsageError."""
    from tracer.model.peers import peer_groups  # noqa: PLC0415 - see above

    return peer_groups(groups or (), rest)


def seconds(name: str, text: str) -> float:
    """Return a duration given as 90, 90s, 5m or 1h, in seconds; raises UsageError, with the option's name."""
    found = _DURATION.fullmatch(text)
    if not found:
        raise UsageError(f"{name} {text} is no duration", "give seconds, or a number with s, m or h: 90, 90s, 5m, 1h")
    return float(found[1]) * _UNITS[found[2]]


def filters(
    ports: list[int] | None,
    addresses: list[str] | None,
    role: str | None,
    pid: int | None,
    cgroup: str | None,
    netns: str,
) -> Filters:
    """Return the Filters that the options say; raises UsageError for what makes no sense."""
    if netns not in {"all", "own"}:
        raise UsageError(f"--netns {netns} is not known", "give all or own")
    return Filters(tuple(ports or ()), tuple(addresses or ()), role, pid, cgroup, netns == "own")
