"""`tcptrace run`: trace, serve /metrics, show, and end with a summary."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from tracer.commands import options
from tracer.commands.terminal import is_drawn
from tracer.kernel.launch import Loading
from tracer.kernel.programs import Settings
from tracer.model.labelnames import OWNER_LABELS

DEFAULT_MAX_SERIES = 5000

Listen = Annotated[str, typer.Option(metavar="[HOST]:PORT", help="Where to serve /metrics; :PORT is every address.")]


def run(
    context: typer.Context,
    listen: Listen = options.DEFAULT_LISTEN,
    duration: options.Duration = None,
    format_name: options.TextOrJson = "text",
    view: options.View = None,
    label: options.Labels = None,
    peer_group: options.PeerGroupTexts = None,
    peer_rest: options.PeerRest = "network",
    max_series: options.MaxSeries = DEFAULT_MAX_SERIES,
    label_ttl: options.LabelTtl = options.DEFAULT_LABEL_TTL,
    max_connections: options.MaxConnections = None,
    user: options.UserName = None,
    web_config: options.WebConfig = None,
    port: options.Ports = None,
    address: options.Addresses = None,
    role: options.Role = None,
    pid: options.Pid = None,
    cgroup: options.Cgroup = None,
    netns: options.Netns = "all",
) -> None:
    """Trace this machine's TCP connections; serve Prometheus metrics and a live view until Ctrl-C."""
    start = time.monotonic()
    names = options.label_names(label, peer_group)
    filters = options.filters(port, address, role, pid, cgroup, netns)
    drawn = is_drawn(view)
    owners = drawn or pid is not None or not OWNER_LABELS.isdisjoint(names)
    settings = Settings(filters, max_connections=max_connections, snapshots=True, owners=owners)
    with Loading(settings) as loading:
        # what takes a third of a second to import, while the loader is at work
        from tracer.commands.tracing import Wanted, trace  # noqa: PLC0415

        wanted = Wanted(
            start=start,
            listen=listen,
            access=options.access(web_config),
            max_series=max_series,
            labels=names,
            peers=options.peers(peer_group, peer_rest),
            label_ttl=label_ttl or None,
            ports=tuple(port or ()),
            user=user,
            duration=duration,
            view=view,
            color=context.obj,
            as_json=format_name == "json",
        )
        trace(loading, wanted)
