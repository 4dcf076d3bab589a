"""Notes of a recording: what readings have beside records and counters, as JSON, each part only when it has changed.

Parts: programs, snapshot, anchor_ns, interfaces (names, by namespace and index), containers (whose a cgroup is, by its id),
namespaces (names that `ip netns` gave, by number), counters (the kernel's, before and after ours: those that differ from the
last ones), remains (of ended connections). What belongs to one reading alone, counters and remains, is in that reading's note.
`books` is `counters` with all of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, astuple, replace
from typing import Any

from tracer.ingest.decode import LAYOUT
from tracer.ingest.figures import Figures
from tracer.ingest.interfaces import NAMES
from tracer.ingest.kernelcounters import KernelCounts
from tracer.ingest.names import cleaned_json
from tracer.ingest.plausible import MAX_NS, checked
from tracer.ingest.sets import unique
from tracer.ingest.snapshot import Snapshot, parse_snapshot, snapshot_document
from tracer.ingest.source import Program, Reading, Remains
from tracer.ingest.workloads import Workload

_PROGRAM: Mapping[str, tuple[type, ...]] = {
    "name": (str,),
    "attached": (bool,),
    **dict.fromkeys(("runs", "misses"), (int,)),
    "run_seconds": (int, float),
}
_STATES = max(LAYOUT.enums["tcp_state"].values())

Whose = Callable[[int], Workload]
"""Whose a cgroup is, by its id."""

Named = Callable[[int], str]
"""What a network namespace is called: its number where it has no name."""


class NoteWriter:
    """Turns readings into notes. whose: tells whose cgroups are, while they are there; named: likewise of namespaces."""

    def __init__(self, whose: Whose = lambda _: Workload(), named: Named = str) -> None:
        self._whose, self._named = whose, named
        self._namespaces: dict[int, str] = {}
        self._written: dict[str, str] = {}
        self._containers: dict[int, Workload] = {}
        self._counters: dict[str, int] = {}

    def note(self, reading: Reading) -> bytes:
        """Return the note of the next reading, b"" when there is nothing to note."""
        lasting = {
            "programs": [asdict(program) for program in reading.programs],
            "snapshot": snapshot_document(reading.snapshot) if reading.snapshot else None,
            "anchor_ns": reading.anchor_ns,
            "interfaces": [[*key, name] for key, name in NAMES.items()],
        }
        texts = {name: json.dumps(value) for name, value in lasting.items()}
        changed = [name for name, text in texts.items() if self._written.get(name) != text]
        self._written = texts
        note = {name: lasting[name] for name in changed} | self._passing(reading)
        return json.dumps(note).encode() if note else b""

    def _passing(self, reading: Reading) -> dict[str, Any]:
        parts: dict[str, Any] = {}
        if containers := self._new_containers(reading):
            parts["containers"] = [[cgroup, *astuple(found)] for cgroup, found in containers.items()]
        if namespaces := self._new_namespaces(reading):
            parts["namespaces"] = [list(item) for item in namespaces.items()]
        if reading.kernel_counts:
            sides = reading.kernel_counts.before, reading.kernel_counts.after
            parts["counters"] = [self._changed_counters(side) for side in sides]
        if reading.remains:
            parts["remains"] = [list(one) for one in reading.remains]
        return parts

    def _new_containers(self, reading: Reading) -> dict[int, Workload]:
        """Return whose the cgroups of these records are, where that was not written yet."""
        cgroups = unique(reading.records["cgroup"]).tolist() if len(reading.records) else []
        found = {cgroup: self._whose(cgroup) for cgroup in cgroups if cgroup}
        new = {cgroup: one for cgroup, one in found.items() if self._containers.get(cgroup, Workload()) != one}
        self._containers |= new
        return new

    def _new_namespaces(self, reading: Reading) -> dict[int, str]:
        """Return what the namespaces of these records are called, where they have a name that was not written yet."""
        unknown = set(unique(reading.records["netns"]).tolist()) - self._namespaces.keys() if len(reading.records) else set()
        found = {netns: self._named(netns) for netns in sorted(unknown)}
        self._namespaces |= found
        return {netns: name for netns, name in found.items() if name != str(netns)}

    def _changed_counters(self, side: Mapping[str, int]) -> dict[str, int | None]:
        """Return the counters that are others than those before; None for one that is gone."""
        changed: dict[str, int | None] = {name: value for name, value in side.items() if self._counters.get(name) != value}
        changed |= dict.fromkeys(self._counters.keys() - side.keys())
        self._counters = dict(side)
        return changed


class NoteReader:
    """Takes notes, and has what holds for the reading that follows.

    containers: whose cgroups are, by their id. namespaces: their names, by number.
    """

    def __init__(self) -> None:
        self.programs: tuple[Program, ...] = ()
        self.snapshot: Snapshot | None = None
        self._figures: Figures | None = None
        self.anchor_ns: int | None = None
        self.containers: dict[int, Workload] = {}
        self.namespaces: dict[int, str] = {}
        self.kernel_counts: KernelCounts | None = None
        self.remains: tuple[Remains, ...] = ()
        self._counters: dict[str, int] = {}

    def take(self, payload: bytes) -> None:
        """Take a note; raises ValueError, KeyError, TypeError, AttributeError, OverflowError or RecursionError for another."""
        for name, value in cleaned_json(payload).items():
            _PARTS[name](self, value)

    def next_reading(self) -> None:
        """Forget what belongs to one reading alone."""
        self.kernel_counts, self.remains = None, ()

    def whose(self, cgroup: int) -> Workload:
        """Return whose a cgroup of the recorded machine is, as far as that was recorded."""
        return self.containers.get(cgroup, Workload())

    def named(self, netns: int, workload: Workload | None = None) -> str:
        """Return what a namespace of the recorded machine is called, as netnames.py would have there."""
        return self.namespaces.get(netns) or (workload.name if workload and workload.container_id else str(netns))

    def _programs(self, value: Any) -> None:
        self.programs = tuple(Program(**checked(program, _PROGRAM)) for program in value)

    def take_figures(self, figures: Figures | None) -> None:
        """Take the figures of open connections, which the snapshot has from now on; None for those before."""
        self._figures = figures or self._figures
        if self.snapshot:
            self.snapshot = replace(self.snapshot, figures=self._figures)

    def _snapshot(self, value: Any) -> None:
        self.snapshot = replace(parse_snapshot(value), figures=self._figures) if value else None

    def _anchor(self, value: Any) -> None:
        self.anchor_ns = None if value is None else int(value)

    def _interfaces(self, value: Any) -> None:
        NAMES.update({(int(netns), int(index)): str(name) for netns, index, name in value})

    def _containers(self, value: Any) -> None:
        self.containers.update({int(cgroup): Workload(*map(str, words)) for cgroup, *words in value})

    def _namespaces(self, value: Any) -> None:
        self.namespaces.update({int(netns): str(name) for netns, name in value})

    def _kernel_counts(self, value: Any) -> None:
        if value is None:
            self.kernel_counts = None
            return
        sides = checked(value, {"before": (dict,), "after": (dict,)})
        self.kernel_counts = KernelCounts(**{name: self._counted(side) for name, side in sides.items()})

    def _counters_since(self, value: Any) -> None:
        before, after = value
        self.kernel_counts = KernelCounts(self._counted(before, self._counters), self._counted(after, self._counters))

    def _counted(self, side: Mapping[str, Any], last: Mapping[str, int] | None = None) -> dict[str, int]:
        """Return counters: those before with those that have changed, and remember them."""
        checked(side, dict.fromkeys(side, (int,) if last is None else (int, type(None))))
        self._counters = {name: value for name, value in {**(last or {}), **side}.items() if value is not None}
        return self._counters

    def _remains(self, value: Any) -> None:
        found = tuple(Remains(int(number), int(state), float(seconds), int(ns)) for number, state, seconds, ns in value)
        if any(not 0 <= one.state <= _STATES or not 0 <= one.time_ns <= MAX_NS for one in found):
            raise ValueError("what a connection has left is out of range")
        self.remains = found


_PARTS: Mapping[str, Callable[[NoteReader, Any], None]] = {
    "programs": NoteReader._programs,  # noqa: SLF001 - its own table
    "snapshot": NoteReader._snapshot,  # noqa: SLF001
    "anchor_ns": NoteReader._anchor,  # noqa: SLF001
    "interfaces": NoteReader._interfaces,  # noqa: SLF001
    "containers": NoteReader._containers,  # noqa: SLF001
    "namespaces": NoteReader._namespaces,  # noqa: SLF001
    "books": NoteReader._kernel_counts,  # noqa: SLF001
    "counters": NoteReader._counters_since,  # noqa: SLF001
    "remains": NoteReader._remains,  # noqa: SLF001
}
