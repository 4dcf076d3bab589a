"""The source that is the running kernel: ring, counters and programs behind one read()."""

from __future__ import annotations

import os
import select
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tracer.errors import TcptraceError
from tracer.ingest.bound import BoundPorts
from tracer.ingest.clock import Anchor, kernel_ns, measure
from tracer.ingest.counters import Counters, Misses, Programs, Refused
from tracer.ingest.decode import EVENT, LAYOUT, Events
from tracer.ingest.interfaces import learn, name_here
from tracer.ingest.kernelcounters import KernelCounters, KernelCounts
from tracer.ingest.late import Explained
from tracer.ingest.links import Links
from tracer.ingest.namespaces import Namespaces
from tracer.ingest.numbers import Numbers
from tracer.ingest.ring import Ring
from tracer.ingest.served import ServedPorts
from tracer.ingest.sockettable import TimeWait
from tracer.ingest.source import Context, Program, Reading
from tracer.ingest.watch import Watch
from tracer.kernel.handoff import Loaded


class LiveSource:
    """Reads what the loader opened; owns its descriptors. Never at its end.

    look_every_ns: how often the programs' figures and the kernel's counters are read, which takes system calls; ring and
    counters, read every time, take none. watch: what takes snapshots of the sockets, which this closes.
    served, numbers, bound: where the records' ports of servers, ends in unlisted namespaces, and ports of bind() are noted.
    filling: is ready when the ring fills up (bpf/emit.h).
    namespaces: where single sockets can be looked up; None when the watch has them, or nobody asked for them.
    asked: see Context.
    """

    def __init__(
        self,
        loaded: Loaded,
        look_every_ns: int = 1_000_000_000,
        watch: Watch | None = None,
        served: ServedPorts | None = None,
        numbers: Numbers | None = None,
        bound: BoundPorts | None = None,
        asked: tuple[str, ...] = (),
    ) -> None:
        self._ring = Ring(loaded.ring, loaded.ring_bytes, EVENT)
        self._records = Explained(self._ring)
        self._counters = Counters(loaded.counters, loaded.cpus, LAYOUT.enums["counter"]["COUNTER_CELLS"])
        self._refused = Refused()
        self._programs = Programs(loaded.programs, loaded.held, loaded.absent)
        self.filling = select.epoll()
        self.filling.register(loaded.ring, select.EPOLLIN | select.EPOLLET)
        self._ring_fd = loaded.ring
        os.close(loaded.counters)
        self._figures: tuple[Program, ...] = ()
        self._misses = Misses()
        self._links = Links()
        self._look_every_ns = look_every_ns
        self._looked_ns = -look_every_ns
        self._kernel_counts = KernelCounters()
        self._watch = watch
        self._served = served or ServedPorts()
        self._numbers = numbers or Numbers()
        self._bound = bound or BoundPorts()
        self.namespaces = Namespaces(loaded.handles) if loaded.handles and not watch else None
        self._open = True
        self._anchor = Anchor()
        self.context = Context(
            kernel=loaded.kernel,
            bcc=loaded.bcc,
            reads="direct" if loaded.direct else "helper",
            anchor_ns=self._anchor.ns,
            netns=loaded.own_netns,
            missing=loaded.missing,
            reset_reasons=loaded.reset_reasons,
            start_ns=kernel_ns(),
            asked=asked,
        )

    def read(self) -> Reading | None:
        """Return what has come since the last call.

        Raises TcptraceError for records of another layout: then kernel and user side are of different versions.
        """
        # asked for first, so that all records from before it are in this reading
        snapshot = self._watch.latest if self._watch else None
        events = self._records.read()
        self._served.note_records(events)
        self._numbers.note_records(events)
        self._bound.note_records(events)
        learn(events["netns"], events["remote_address"], partial(self._interface_name, events))
        if self._ring.foreign:
            raise TcptraceError("the ring holds records of another size than event.h says", "reinstall tcptrace")
        now_ns, anchor_ns = kernel_ns(), self._anchor.look(measure())
        if now_ns - self._looked_ns < self._look_every_ns:
            return Reading(events, self._cells(), now_ns, self._figures, snapshot, anchor_ns=anchor_ns)
        if self.namespaces:
            self.namespaces.look()
        figures = self._programs.read()
        before = self._kernel_counts.read()
        cells = self._cells()
        self._figures, self._looked_ns = self._misses.without_rescued(figures, cells), now_ns
        return Reading(
            events, cells, now_ns, self._figures, snapshot, KernelCounts(before, self._kernel_counts.read()), anchor_ns
        )

    def refresh(self) -> None:
        """Have a snapshot of now at the next read(), if it takes but a moment; for any thread."""
        if self._watch:
            self._watch.refresh()

    def time_wait(self, event: np.void) -> TimeWait | None:
        """Return what the connection of a record has left behind, as Namespaces says."""
        namespaces = self.namespaces or (self._watch.namespaces if self._watch else None)
        return namespaces.time_wait(event) if namespaces else None

    def _interface_name(self, events: Events, netns: int, index: int) -> str | None:
        if netns == self.context.netns:
            return name_here(index)
        namespaces = self.namespaces or (self._watch.namespaces if self._watch else None)
        name = namespaces.interface_name(netns, index) if namespaces else None
        return name or self._links.name(netns, index, events)

    def _cells(self) -> NDArray[np.uint64]:
        """Return the exact counters; read behind the ring, as Refused wants it."""
        return self._refused.add(self._counters.read(), was_full=self._ring.was_full())

    def close(self) -> None:
        """Detach the programs and free all that the kernel holds for us."""
        if self._open:
            self._open = False
            if self._watch:
                self._watch.close()
            if self.namespaces:
                self.namespaces.close()
            self._programs.close()
            self._counters.close()
            self._kernel_counts.close()
            self._ring.close()
            self.filling.close()
            os.close(self._ring_fd)
