"""The second look at a recording that `report --format html` takes: at the connections that the first one found the worst."""

from __future__ import annotations

from tracer.errors import TcptraceError
from tracer.ingest.recording import RecordedSource
from tracer.model.drawn import Drawn, drawn
from tracer.model.findings import Findings
from tracer.model.worst import Gathered, worst

NEEDS_ASKED = (
    "Time-sequence graphs and ladders of the worst connections need a recording made with "
    "'tcptrace record --segments -o FILE'; --follow is enough for the ladders."
)
NEEDS_FILE = "Time-sequence graphs and ladders need a recording in a file: tcptrace record --segments -o FILE."


def draw_worst(found: Findings, recorded: RecordedSource) -> tuple[list[Drawn], str]:
    """Return what there is to draw of a recording, or why there is nothing. The recording was read to its end."""
    if not recorded.context.asked:
        return [], NEEDS_ASKED
    if not recorded.is_seekable:
        return [], NEEDS_FILE
    wanted = worst(found)
    if not len(wanted):
        return [], ""
    gathered = Gathered(wanted)
    _gather(recorded.again(), gathered)
    each = [drawn(gathered.records(at), recorded.context, cut=gathered.cut[at]) for at in range(len(wanted))]
    return [one for one in each if one], ""


def _gather(source: RecordedSource, gathered: Gathered) -> None:
    try:
        while (reading := source.read()) is not None:
            gathered.add(reading.events)
    except TcptraceError:
        pass  # the first look has been at its end, and said so
