"""Options that go together, as one parameter of several commands: the filters, and what /metrics has and who may read it.

What checking them needs and takes long to import is imported only then: `run` has the loader at work meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

from tracer.commands import options
from tracer.errors import UsageError
from tracer.kernel.filters import Filters
from tracer.model.labelnames import optional_names

if TYPE_CHECKING:
    from tracer.model.peers import PeerGroups
    from tracer.outputs.web.access import Access

Command = Callable[..., None]


def grouped(**groups: Callable[..., Any]) -> Callable[[Command], Command]:
    """Return what gives a command more options: each parameter named here is what its group makes of parameters of its own."""

    def decorated(command: Command) -> Command:
        own = signature(command, eval_str=True)
        options_of = {name: signature(group, eval_str=True).parameters for name, group in groups.items()}

        @wraps(command)
        def called(**given: Any) -> None:
            made = {name: group(**{one: given.pop(one) for one in options_of[name]}) for name, group in groups.items()}
            command(**given, **made)

        every = [one for name, its in own.parameters.items() for one in options_of.get(name, {name: its}).values()]
        flat = own.replace(parameters=[one.replace(kind=Parameter.KEYWORD_ONLY) for one in every])
        called.__signature__ = flat  # type: ignore[attr-defined]
        return called

    return decorated


def filters(
    port: options.Ports = None,
    address: options.Addresses = None,
    role: options.Role = None,
    pid: options.Pid = None,
    cgroup: options.Cgroup = None,
    netns: options.Netns = "all",
) -> Filters:
    """Return the Filters that the options say; raises UsageError for what makes no sense."""
    if netns not in {"all", "own"}:
        raise UsageError(f"--netns {netns} is not known", "give all or own")
    return Filters(tuple(port or ()), tuple(address or ()), role, pid, cgroup, netns == "own")


def recorded_filters(
    port: options.Ports = None,
    address: options.Addresses = None,
    role: options.Role = None,
    pid: options.RecordedPid = None,
    netns: options.Netns = "all",
) -> Filters:
    """Return the same of a recording, whose cgroups are of another machine, or of another time."""
    return filters(port, address, role, pid, None, netns)


@dataclass(frozen=True)
class SeriesOptions:
    """Which series /metrics has, and who may read it, as the options say."""

    label: options.MoreLabels = None
    peer_group: options.PeerGroupTexts = None
    peer_rest: options.PeerRest = "network"
    max_series: options.MaxSeries = 5000
    label_ttl: options.LabelTtl = 3600.0
    web_config: options.WebConfig = None

    def labels(self) -> tuple[str, ...]:
        """Return the labels beside role and port, of which groups of peers are one; raises UsageError."""
        return optional_names([*(self.label or ()), *(["peer_group"] if self.peer_group else [])])

    def peers(self) -> PeerGroups:
        """Return the groups of peers; raises UsageError."""
        from tracer.model.peers import peer_groups  # noqa: PLC0415 - see above

        return peer_groups(self.peer_group or (), self.peer_rest)

    def access(self) -> Access:
        """Return who may ask for the metrics; raises TcptraceError when the file will not do."""
        if self.web_config is None:
            from tracer.outputs.web.access import Access  # noqa: PLC0415 - see above

            return Access()
        from tracer.outputs.web.webconfig import read_access  # noqa: PLC0415 - megabytes that only this option needs

        return read_access(self.web_config)


@dataclass(frozen=True)
class Shown:
    """How `run` and `replay` show what they trace or read: listen None serves nothing; view and color None: on a terminal."""

    listen: str | None
    series: SeriesOptions
    view: bool | None
    color: bool | None
    as_json: bool
