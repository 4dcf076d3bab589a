"""`tcptrace audit`: our counts beside the kernel's own, and the drift between them."""

from __future__ import annotations

import json
import sys
import time
from typing import Annotated, Any

import typer

from tracer.commands import options
from tracer.commands.session import open_kernel, stop_on_signals
from tracer.errors import TcptraceError
from tracer.kernel.filters import Filters
from tracer.kernel.launch import Loading
from tracer.kernel.settings import Settings
from tracer.model.report import Report
from tracer.model.totals import Model
from tracer.outputs.lines import audit_lines
from tracer.pipeline import Pipeline, drain

SETTLE_SECONDS = 3.0
"""How long a drift may last at the end before it is reported: what is under way is counted by one side first."""

LOOK_EVERY_NS = 100_000_000

Seconds = Annotated[
    float,
    typer.Option(
        "--duration",
        metavar="TIME",
        parser=options.duration_option("--duration"),
        show_default=False,
        help="How long to count: 90, 90s, 5m, 1h; default: 10s.",
    ),
]


def audit(duration: Seconds = 10.0, format_name: options.TableOrJson = "table", user: options.UserName = None) -> None:
    """Compare our counts with the kernel's own (/proc/net/snmp, netstat) for a while; exit 1 if they drift apart.

    Of this network namespace only, since the kernel counts by namespace. What no tracepoint shows has the kernel's count alone.
    """
    source = open_kernel(Loading(Settings(Filters())), user, LOOK_EVERY_NS)
    pipeline = Pipeline(source, Model(source.context))
    pipeline.pump()
    with stop_on_signals() as stop:
        print(f"tcptrace: counting for {duration:g} s; Ctrl-C ends it sooner", file=sys.stderr, flush=True)
        stop.wake_on(source.filling, source.gather)
        drain(pipeline, stop, duration, lambda _: None)
        report = report_without_drift(pipeline)
    pipeline.close()
    print(json.dumps(audit_document(report)) if format_name == "json" else "\n".join(audit_lines(report)))
    stop.leave()
    raise_drift(report)


def raise_drift(report: Report) -> None:
    """Raise TcptraceError when there is a drift."""
    if any(line.drift for line in report.audit):
        raise TcptraceError(
            "our counts differ from the kernel's", "events were missed; see tcptrace_program_misses_total and events_lost_total"
        )


def report_without_drift(pipeline: Pipeline) -> Report:
    """Return the first Report without drift, or the last one when there is drift until the time is up.

    The wait comes first, since the latest look at the kernel's counters may be a while ago.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        time.sleep(LOOK_EVERY_NS / 1e9)
        report = pipeline.fresh_report()
        if time.monotonic() >= deadline or not any(line.drift for line in report.audit):
            return report


def audit_document(report: Report) -> dict[str, Any]:
    """Return the contract's JSON document."""
    counters = {line.counter: {"kernel": line.kernel, "traced": line.traced, "drift": line.drift} for line in report.audit}
    return {"duration_seconds": report.duration_seconds, "counters": counters}
