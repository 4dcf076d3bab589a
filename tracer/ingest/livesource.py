"""The source that is the running kernel: ring, counters and programs behind one read()."""

from __future__ import annotations

import math
import os
import select
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tracer.errors import TcptraceError
from tracer.ingest.aborts import settle_columns
from tracer.ingest.bound import BoundPorts
from tracer.ingest.clock import Anchor, kernel_ns, measure
from tracer.ingest.counted import Counted
from tracer.ingest.counters import Counters, Misses, Programs, Refused
from tracer.ingest.decode import BEGINNING, EVENT, LAYOUT, NO_RECORDS, Events
from tracer.ingest.gather import FIRST_SECONDS, next_pause
from tracer.ingest.interfaces import LINK_LOCAL, learn, name_here
from tracer.ingest.kernelcounters import KernelCounters, KernelCounts
from tracer.ingest.late import Explained
from tracer.ingest.links import Links
from tracer.ingest.namespaces import Namespaces
from tracer.ingest.numbers import Numbers
from tracer.ingest.places import Places
from tracer.ingest.ring import Ring
from tracer.ingest.served import ServedPorts, codes_of
from tracer.ingest.sets import is_among
from tracer.ingest.sockettable import TimeWait
from tracer.ingest.source import Context, Program, Reading
from tracer.ingest.transposed import Seen, Transposed, together, words_of
from tracer.kernel.handoff import Loaded
from tracer.kernel.settings import Reads
from tracer.kernel.sizes import counter_rows

NO_NETNS = np.empty(0, np.uint32)
COUNTED_SECONDS = 1.0

_SERVER = LAYOUT.enums["role"]["ROLE_SERVER"]


class LiveSource:
    """Reads what the loader opened; owns its descriptors. Never at its end.

    look_every_ns: how often the programs' figures and the kernel's counters are read, which takes system calls; ring and
    counters, read every time, take none. asked: see Context. numbers: where ends in unlisted namespaces are noted.
    namespaces: where single sockets can be looked up; given where another thread reads and looks after them, else own ones.
    served, bound: where the records' ports of servers, and ports of bind() are noted.
    columns: whether nobody wants whole records; see Reading.
    places: what is counted without records, None where nothing is.
    filling: is ready when the ring fills up (bpf/emit.h).
    """

    def __init__(
        self,
        loaded: Loaded,
        look_every_ns: int = 1_000_000_000,
        asked: tuple[str, ...] = (),
        namespaces: Namespaces | None = None,
        numbers: Numbers | None = None,
        *,
        columns: bool = False,
    ) -> None:
        self._ring = Ring(loaded.ring, loaded.ring_bytes, EVENT if loaded.whole_records else BEGINNING)
        copied: Callable[[Sequence[Events]], Events | Transposed] = Transposed.of if columns else together
        self._records = Explained(self._ring, copied)
        self._counters = Counters(loaded.counters, counter_rows(loaded.cpus), LAYOUT.enums["counter"]["COUNTER_CELLS"])
        self._refused = Refused()
        self._programs = Programs(loaded.programs, loaded.held, loaded.absent)
        self.places = Places(loaded.tallies, loaded.tally_rows, loaded.cpus) if loaded.tallies else None
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
        self.served, self.bound, self._numbers = ServedPorts(loaded.accepted), BoundPorts(loaded.bound), numbers or Numbers()
        self._looks = namespaces is None and bool(loaded.handles)
        self.namespaces = Namespaces(loaded.handles) if self._looks else namespaces
        self._open = True
        self._anchor = Anchor()
        self.context = _context(loaded, self._anchor.ns, asked)

    def read(self) -> Reading | None:
        """Return what has come since the last call.

        Raises TcptraceError for records of another layout: then kernel and user side are of different versions.
        """
        events, columns = self._read_ring()
        if self._ring.foreign:
            raise TcptraceError("the ring holds records of another size than event.h says", "reinstall tcptrace")
        counted = self._take_counted()
        now_ns, anchor_ns = kernel_ns(), self._anchor.look(measure())
        if now_ns - self._looked_ns < self._look_every_ns:
            cells = self._cells()
            return Reading(events, cells, now_ns, self._figures, anchor_ns=anchor_ns, columns=columns, counted=counted)
        if self.namespaces and self._looks:
            self.namespaces.look()
        figures = self._programs.read()
        before = self._kernel_counts.read()
        cells = self._cells()
        self._figures, self._looked_ns = self._misses.without_rescued(figures, cells), now_ns
        counts = KernelCounts(before, self._kernel_counts.read())
        return Reading(
            events, cells, now_ns, self._figures, kernel_counts=counts, anchor_ns=anchor_ns, columns=columns, counted=counted
        )

    def _take_counted(self) -> tuple[Counted, ...]:
        """Return what was counted without records; behind the look at the ring, so that no handshake is missing of its ends."""
        counted = self.places.take() if self.places else ()
        for look in counted:
            served = look.places[look.places["role"] == _SERVER]
            self.served.note(codes_of(served["netns"], served["port"]))
        return counted

    def look_within(self) -> float:
        """Return in how many seconds the next look is due at the latest.

        What is counted has the look's time, which matters for timewait objects that no list tells of (model/unlisted.py).
        """
        counted = self.places.netns() if self.places else NO_NETNS
        return math.inf if is_among(counted, self._numbers.listed).all() else COUNTED_SECONDS

    def _read_ring(self) -> tuple[Events, Transposed | None]:
        """Return the records that have come, whole or by columns."""
        found = self._records.read()
        if len(found):
            self._note(found)
        if not isinstance(found, Transposed):
            return found, None
        return NO_RECORDS, settle_columns(found)

    def _note(self, records: Events | Transposed) -> None:
        """Keep what the records tell of ports, namespaces and interfaces."""
        seen = records if isinstance(records, Transposed) else Seen(records)
        for who in (self.served, self._numbers, self.bound):
            who.note_records(seen)
        first = np.ascontiguousarray(words_of(records, "remote_address")[0]).view(np.uint8)[:: np.uint64().itemsize]
        linked = np.flatnonzero(first == LINK_LOCAL)
        if len(linked):
            some = records[linked]
            learn(some["netns"], some["remote_address"], partial(self._interface_name, some))

    def gather(self) -> None:
        """Let the ring fill up, once it has begun to."""
        filled, pause = self._ring.filled(), FIRST_SECONDS
        while pause:
            time.sleep(pause)
            before, filled = filled, self._ring.filled()
            pause = next_pause(before, filled, pause)

    def time_wait(self, event: np.void) -> TimeWait | None:
        """Return what the connection of a record has left behind, as Namespaces says."""
        return self.namespaces.time_wait(event) if self.namespaces else None

    def _interface_name(self, events: Events, netns: int, index: int) -> str | None:
        if netns == self.context.netns:
            return name_here(index)
        name = self.namespaces.interface_name(netns, index) if self.namespaces else None
        return name or self._links.name(netns, index, events)

    def _cells(self) -> NDArray[np.uint64]:
        """Return the exact counters; read behind the ring, as Refused wants it."""
        return self._refused.add(self._counters.read(), was_full=self._ring.was_full())

    def close(self) -> None:
        """Detach the programs and free all that the kernel holds for us."""
        if self._open:
            self._open = False
            if self.namespaces:
                self.namespaces.close()
            self._programs.close()
            self._counters.close()
            self._kernel_counts.close()
            self._ring.close()
            if self.places:
                self.places.close()
            self.filling.close()
            os.close(self._ring_fd)


def _context(loaded: Loaded, anchor_ns: int, asked: tuple[str, ...]) -> Context:
    return Context(
        kernel=loaded.kernel,
        bcc=loaded.bcc,
        reads="helper" if loaded.reads == Reads.CALLS else "direct",
        anchor_ns=anchor_ns,
        netns=loaded.own_netns,
        missing=loaded.missing,
        reset_reasons=loaded.reset_reasons,
        start_ns=kernel_ns(),
        asked=asked,
    )
