"""What `run` does once its options are read: it is imported while the loader is at work, which takes as long."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import partial

from tracer.commands.notify import ServiceManager
from tracer.commands.serving import Kept, shipped_files
from tracer.commands.session import announce, open_kernel, stop_on_signals, watch_sockets
from tracer.commands.terminal import is_drawn
from tracer.commands.view import Latest, View
from tracer.ingest.cgroups import CgroupNames
from tracer.ingest.netnames import NamespaceNames
from tracer.kernel.launch import Loading
from tracer.model.labelnames import CGROUP_LABELS
from tracer.model.naming import Naming
from tracer.model.peers import PeerGroups
from tracer.model.report import Report
from tracer.model.summaryjson import document
from tracer.model.totals import Model
from tracer.outputs.lines import summary
from tracer.outputs.web import http
from tracer.outputs.web.access import Access
from tracer.outputs.web.listening import bind
from tracer.pipeline import Pipeline, drain
from tracer.watch import INTERVAL_SECONDS, UNSEEN_SECONDS


@dataclass(frozen=True)
class Wanted:
    """What the options say, beside what is loaded for them. start: of the command, by time.monotonic(); others: options.py."""

    start: float
    listen: str
    access: Access
    max_series: int
    labels: tuple[str, ...]
    peers: PeerGroups
    label_ttl: float | None
    ports: tuple[int, ...]
    user: str | None
    duration: float | None
    view: bool | None
    color: bool | None
    as_json: bool


def trace(loading: Loading, wanted: Wanted) -> None:
    """Trace until it is stopped or the time is over, serve and show what is found, and end with a summary."""
    listener = bind(wanted.listen)
    kept, files = Kept(), shipped_files()
    manager = ServiceManager(os.environ)
    with_cgroups, drawn = not CGROUP_LABELS.isdisjoint(wanted.labels), is_drawn(wanted.view)
    source = open_kernel(loading, wanted.user, with_cgroups=with_cgroups)
    watch = watch_sockets(source, loading.settings.filters, INTERVAL_SECONDS if drawn else UNSEEN_SECONDS)
    model = Model(
        source.context,
        labels=wanted.labels,
        label_ttl=wanted.label_ttl,
        given=wanted.ports,
        naming=Naming(CgroupNames().workload, NamespaceNames(), wanted.peers),
    )
    latest = Latest() if drawn else None
    pipeline = Pipeline(source, model, latest, watch)
    pipeline.pump()  # where the audit begins: before it is said that everything is traced
    serve = partial(http.serve, access=wanted.access, max_series=wanted.max_series, past=lambda: kept.spans, files=files)
    server = serve(listener, pipeline.fresh_report, pipeline.healthy)
    with stop_on_signals() as stop:
        stop.wake_on(source.filling)
        announce(wanted.start, f"metrics on {server.url}metrics", source.context.missing)
        shown = View(stop, table=wanted.view, color=wanted.color, latest=latest)
        with shown, manager.serving(server.url, shown.show) as show:
            drain(pipeline, stop, wanted.duration, kept.beside(show, shown), shown.poll, shown.pause)
    report = pipeline.last_report()
    server.close()
    pipeline.close()
    print_summary(report, as_json=wanted.as_json, host=os.uname().nodename)
    stop.leave()


def print_summary(report: Report, *, as_json: bool, host: str | None = None) -> None:
    """Write the end of a run to standard output: one JSON object, or text. host: see document()."""
    if as_json:
        print(json.dumps(document(report, host)))
    else:
        print("\n".join(summary(report)))
