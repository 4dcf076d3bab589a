"""`tcptrace run`: trace, serve /metrics, show, and end with a summary."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from tracer.commands import optiongroups, options
from tracer.commands.optiongroups import SeriesOptions, Shown, grouped
from tracer.commands.terminal import is_drawn
from tracer.kernel.filters import Filters
from tracer.kernel.launch import Loading
from tracer.kernel.settings import Settings
from tracer.model.labelnames import OWNER_LABELS

Listen = Annotated[str, typer.Option(metavar="[HOST]:PORT", help="Where to serve /metrics; :PORT is every address.")]


@grouped(filters=optiongroups.filters, series=SeriesOptions)
def run(
    context: typer.Context,
    listen: Listen = options.DEFAULT_LISTEN,
    duration: options.Duration = None,
    format_name: options.TextOrJson = "text",
    view: options.LiveView = None,
    max_connections: options.MaxConnections = None,
    user: options.UserName = None,
    *,
    series: SeriesOptions,
    filters: Filters,
) -> None:
    """Trace this machine's TCP connections; serve Prometheus metrics and a live view until Ctrl-C."""
    start = time.monotonic()
    owners = is_drawn(view) or filters.pid is not None or not OWNER_LABELS.isdisjoint(series.labels())
    counts = not owners and not filters.cgroup and {"netns"}.issuperset(series.labels())
    settings = Settings(filters, max_connections=max_connections, snapshots=True, owners=owners, counts=counts)
    with Loading(settings) as loading:
        # what takes a third of a second to import, while the loader is at work
        from tracer.commands.tracing import trace  # noqa: PLC0415

        trace(loading, Shown(listen, series, view, context.obj, format_name == "json"), start, user, duration)
