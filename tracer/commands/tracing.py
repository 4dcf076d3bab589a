"""What `run` does once its options are read: it is imported while the loader is at work, which takes as long."""

from __future__ import annotations

import json
import os
from functools import partial

from tracer.commands.latest import Latest
from tracer.commands.lineview import view_class
from tracer.commands.notify import ServiceManager
from tracer.commands.optiongroups import Shown
from tracer.commands.serving import Kept, shipped_files
from tracer.commands.session import announce, open_kernel, stop_on_signals, watch_sockets
from tracer.commands.terminal import is_drawn
from tracer.ingest.cgroups import CgroupNames
from tracer.ingest.netnames import NamespaceNames
from tracer.kernel.launch import Loading
from tracer.model.labelnames import CGROUP_LABELS
from tracer.model.naming import Naming
from tracer.model.report import Report
from tracer.model.summaryjson import summary_document
from tracer.model.totals import Model
from tracer.outputs.lines import summary
from tracer.outputs.web import http
from tracer.outputs.web.listening import bind
from tracer.pipeline import Pipeline, drain
from tracer.watch import INTERVAL_SECONDS, UNSEEN_SECONDS


def trace(loading: Loading, shown: Shown, start: float, user: str | None, duration: float | None) -> None:
    """Trace until it is stopped or the time is over, serve and show what is found, and end with a summary.

    start: of the command, by time.monotonic().
    """
    series, filters = shown.series, loading.settings.filters
    labels, drawn, access = series.labels(), is_drawn(shown.view), series.access()
    naming = Naming(CgroupNames().workload, NamespaceNames(), series.peers())
    listener = bind(shown.listen or "")
    kept, files, show_with = Kept(), shipped_files(), view_class(shown.view)
    manager = ServiceManager(os.environ)
    source = open_kernel(loading, user, with_cgroups=not CGROUP_LABELS.isdisjoint(labels), columns=not drawn)
    watch = watch_sockets(source, filters, INTERVAL_SECONDS if drawn else UNSEEN_SECONDS)
    model = Model(source.context, labels=labels, label_ttl=series.label_ttl or None, given=filters.ports, naming=naming)
    latest = Latest() if drawn else None
    pipeline = Pipeline(source, model, latest, watch)
    pipeline.pump()  # where the audit begins: before it is said that everything is traced
    serve = partial(http.serve, access=access, max_series=series.max_series, past=lambda: kept.spans, files=files)
    server = serve(listener, pipeline.fresh_report, pipeline.healthy)
    with stop_on_signals() as stop:
        stop.wake_on(source.filling, *(() if drawn else (source.gather,)))
        announce(start, f"metrics on {server.url}metrics", source.context.missing)
        view = show_with(stop, color=shown.color, latest=latest)
        with view, manager.serving(server.url, view.show) as show:
            drain(pipeline, stop, duration, kept.beside(show, view), view.poll, view.pause, source.look_within)
    report = pipeline.last_report()
    server.close()
    pipeline.close()
    print_summary(report, as_json=shown.as_json, host=os.uname().nodename)
    stop.leave()


def print_summary(report: Report, *, as_json: bool, host: str | None = None) -> None:
    """Write the end of a run to standard output: one JSON object, or text. host: see document()."""
    if as_json:
        print(json.dumps(summary_document(report, host)))
    else:
        print("\n".join(summary(report)))
