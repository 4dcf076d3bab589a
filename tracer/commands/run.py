"""`tcptrace run`: trace, serve /metrics, show, and end with a summary."""

from __future__ import annotations

import json
import os
import time
from functools import partial
from typing import Annotated

import typer

from tracer.commands import options
from tracer.commands.notify import ServiceManager
from tracer.commands.serving import Kept, shipped_files
from tracer.commands.session import announce, open_kernel, stop_on_signals
from tracer.commands.view import Latest, View, is_drawn
from tracer.ingest.cgroups import CgroupNames
from tracer.ingest.netnames import NamespaceNames
from tracer.kernel.programs import Settings
from tracer.model.naming import CGROUP_LABELS, OWNER_LABELS, Naming
from tracer.model.report import Report, document
from tracer.model.totals import Model
from tracer.outputs.lines import summary
from tracer.outputs.web import http
from tracer.pipeline import Pipeline, drain

DEFAULT_MAX_SERIES = 5000


def run(
    context: typer.Context,
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where to serve /metrics.")] = options.DEFAULT_LISTEN,
    duration: options.Duration = None,
    as_json: options.Json = False,
    view: options.View = None,
    label: options.Labels = None,
    peer_group: options.PeerGroupTexts = None,
    peer_rest: options.PeerRest = "network",
    max_series: options.MaxSeries = DEFAULT_MAX_SERIES,
    label_ttl: options.LabelTtl = options.DEFAULT_LABEL_TTL,
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
    names, peers = options.labels(label, peer_group, peer_rest)
    filters = options.filters(port, address, role, pid, cgroup, netns)
    drawn = is_drawn(view)
    settings = Settings(filters, snapshots=True, owners=drawn or pid is not None or not OWNER_LABELS.isdisjoint(names))
    ttl = options.seconds("--label-ttl", label_ttl) or None
    access = options.access(web_config)
    listener = http.bind(listen)
    kept, files = Kept(), shipped_files()
    manager = ServiceManager(os.environ)
    with_cgroups = not CGROUP_LABELS.isdisjoint(names)
    source = open_kernel(settings, user, with_cgroups=with_cgroups, executes=drawn)
    model = Model(
        source.context,
        labels=names,
        label_ttl=ttl,
        given=port or (),
        naming=Naming(CgroupNames().workload, NamespaceNames(), peers),
    )
    latest = Latest() if drawn else None
    pipeline = Pipeline(source, model, latest)
    pipeline.pump()  # where the audit begins: before it is said that everything is traced
    serve = partial(http.serve, access=access, max_series=max_series, past=lambda: kept.spans, files=files)
    server = serve(listener, pipeline.fresh_report, pipeline.healthy)
    with stop_on_signals() as stop:
        stop.wake_on(source.filling)
        announce(start, f"metrics on {server.url}metrics", source.context.missing)
        with View(stop, table=view, color=context.obj, latest=latest) as shown, manager.serving(server.url, shown.show) as show:
            drain(pipeline, stop, duration, kept.beside(show, shown), shown.poll, shown.pause)
    report = pipeline.last_report()
    server.close()
    pipeline.close()
    print_summary(report, as_json=as_json)
    stop.leave()


def print_summary(report: Report, *, as_json: bool) -> None:
    """Write the end of a run to standard output: one JSON object, or text."""
    if as_json:
        print(json.dumps(document(report)))
    else:
        print("\n".join(summary(report)))
