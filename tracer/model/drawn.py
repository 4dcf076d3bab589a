"""What there is to draw of one connection: both ends' dossier, its time-sequence graph, and the steps of its life."""

from __future__ import annotations

from dataclasses import dataclass

from tracer.ingest.decode import Events
from tracer.ingest.source import Context
from tracer.model.dossier import Dossier, dossier
from tracer.model.follow.followed import Followed
from tracer.model.follow.steps import Step
from tracer.model.oneconnection import ends_of
from tracer.model.tcp import KIND
from tracer.model.timesequence import TimeSequence, time_sequence


@dataclass(frozen=True)
class Drawn:
    """One connection. graph, steps: None where the recording does not have what they take; graph also without its sender's end.

    cut: whether there were more records than these.
    """

    dossier: Dossier
    graph: TimeSequence | None
    steps: tuple[Step, ...] | None
    cut: bool = False


def drawn(records: Events, context: Context, *, cut: bool = False) -> Drawn | None:
    """Return what there is to draw of the records of one connection, both ends' or one's; None where they are of several."""
    if not len(records) or (ends := ends_of(records)) is None:
        return None
    found = dossier(*ends, context)
    graph = time_sequence(found) if "segments" in context.asked else None
    if graph and not any(len(points) for points in (graph.sent, graph.acknowledged, graph.retransmitted)):
        graph = None
    steps = _steps(records, context) if {"follow", "segments"} & set(context.asked) else None
    return Drawn(found, graph, steps, cut)


def _steps(records: Events, context: Context) -> tuple[Step, ...]:
    told = records[records["kind"] != KIND["segment"]]
    return tuple(Followed(context.reset_reasons).add(told))
