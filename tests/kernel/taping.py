"""Records, and prints what the live commands print of the very same readings, until SIGTERM.

    python -m tests.kernel.taping DIRECTORY PORT...

Writes DIRECTORY/recording, and a file for each of OUTPUTS. Says `attached` on standard output when everything is traced.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tracer.commands.audit import audit_document
from tracer.commands.drawing import Follower, show_json, show_ladder
from tracer.commands.listed import list_text
from tracer.commands.printing import FORMATS, Output, Printer
from tracer.commands.session import Stop, complain, open_kernel, stop_on_signals, watch_sockets
from tracer.ingest.cgroups import CgroupNames
from tracer.ingest.openrows import MOST_ROWS, OpenRows
from tracer.ingest.recorder import Recorder, Sparing
from tracer.ingest.remains import RemainsSource
from tracer.ingest.source import Reading
from tracer.ingest.spool import Spool
from tracer.kernel.filters import Filters
from tracer.kernel.launch import Loading
from tracer.kernel.settings import Settings
from tracer.model.findings import FindingsSearch
from tracer.model.openers import Openers
from tracer.model.openlist import OpenList
from tracer.model.summaryjson import summary_document
from tracer.model.totals import Model
from tracer.outputs.findings.reportjson import report_document
from tracer.outputs.ladder import Style
from tracer.pipeline import POLL_SECONDS

OUTPUTS = {
    "events": ("events", "--format", "json"),
    "table": ("events",),
    "csv": ("events", "--format", "csv"),
    "follow": ("follow", "--format", "json"),
    "ladder": ("follow",),
    "segments": ("follow", "--segments", "--format", "json"),
    "report": ("report", "--format", "json"),
    "audit": ("audit", "--json"),
    "run": ("run", "--json"),
    "connections": ("connections", "--format", "json"),
}
"""Names of files, and what `tcptrace replay FILE` is given to print the same."""

KINDS = ("handshake", "failure", "close", "retransmit", "reset")

Shown = Callable[[Reading], None]


def main(directory: Path, ports: tuple[int, ...]) -> None:
    """Trace until there is a signal."""
    files = {name: (directory / name).open("wb") for name in ("recording", *OUTPUTS)}
    settings = Settings(Filters(ports=ports), snapshots=True, follow=True, segments=True)
    live = open_kernel(Loading(settings), None, with_cgroups=True)
    source, watch = RemainsSource(live, complain), watch_sockets(live, settings.filters, rows=MOST_ROWS)
    assert watch is not None
    names = CgroupNames()
    recorder = Recorder(files["recording"], source.context, names.workload)
    sparing = Sparing(recorder)
    spool = Spool(sparing, recorder.flush, sparing.end)
    model, search, openers = Model(source.context), FindingsSearch(source.context), Openers()
    with stop_on_signals() as stop:
        shown = [spool.write, model.add, search.add, *printers(source, stop, names, {n: f.fileno() for n, f in files.items()})]
        print("attached", flush=True)
        rows, stopped_ns = None, 0
        while True:
            ending = stop.is_set() and not source.waiting and rows is not None and first_ns(rows) > stopped_ns > 0
            snapshot, reading = watch.latest, source.read()
            assert reading is not None
            reading = replace(reading, snapshot=snapshot)
            rows = reading.open_rows
            openers.add(reading.events)
            for show in shown:
                show(reading)
            if ending:
                break
            if stop.is_set():
                source.hurry(0)
                stopped_ns = stopped_ns or reading.time_ns
            stop.wait(POLL_SECONDS)
        spool.close()
    watch.close()
    source.close()
    assert rows is not None
    owners = openers.owners(rows)
    listed = list_text(OpenList(rows), lambda _: owners, sort="wrong", count=None, format_name="json")
    files["connections"].write(listed.encode() + b"\n")
    files["audit"].write(json.dumps(audit_document(model.report())).encode() + b"\n")
    model.finish()
    files["run"].write(json.dumps(summary_document(model.report())).encode() + b"\n")
    files["report"].write(json.dumps(report_document(search.findings())).encode() + b"\n")
    for file in files.values():
        file.close()


def first_ns(rows: OpenRows) -> int:
    """Return when the first of the two looks was."""
    return rows.time_ns - int(rows.seconds * 1e9)


def printers(source: RemainsSource, stop: Stop, names: CgroupNames, files: dict[str, int]) -> list[Shown]:
    """Return what prints readings as the commands do."""
    context = source.context
    out = {name: Output(stop, fd) for name, fd in files.items()}
    forms = {"events": "json", "table": "table", "csv": "csv"}
    events = [Printer(out[name], FORMATS[form], context, kinds=KINDS, container=names) for name, form in forms.items()]
    follow = Follower(context, show_json(context, out["follow"], names), segments=False)
    ladder = Follower(context, show_ladder(out["ladder"], Style(80)), segments=False)
    segments = Follower(context, show_json(context, out["segments"], names), segments=True)
    return [*(printer.show for printer in events), follow.take, ladder.take, segments.take]


if __name__ == "__main__":
    main(Path(sys.argv[1]), tuple(map(int, sys.argv[2:])))
