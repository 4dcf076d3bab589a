"""What `run` reads where it counts busy places in the kernel, read in this process: records, and what had none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager

from tracer.ingest.counted import Counted
from tracer.ingest.decode import Events
from tracer.ingest.livesource import LiveSource
from tracer.ingest.places import Places
from tracer.kernel.filters import Filters
from tracer.kernel.launch import load_programs
from tracer.kernel.settings import Reads, Settings
from tracer.model.tcp import CLOSE_REASONS, KIND, KINDS, ROLES, close_reasons

Numbers = Counter[tuple[str, str]]
"""By kind and role."""


class Tallying:
    """Programs that run. recorded, counted: handshakes and ends with a record and without; reasons: of ends with one."""

    def __init__(self, source: LiveSource, places: Places) -> None:
        self.places = places
        self.recorded, self.counted = Numbers(), Numbers()
        self.reasons: Counter[str] = Counter()
        self.looks: list[Counted] = []
        self._source = source

    def read(self) -> None:
        """Take what has come."""
        reading = self._source.read()
        assert reading is not None
        for look in reading.counted:
            self._take(look)
        records = reading.records
        self.recorded.update((KINDS[kind], ROLES[role]) for kind, role in zip(records["kind"], records["role"], strict=True))
        self._note_reasons(records[records["kind"] == KIND["close"]])

    def _take(self, look: Counted) -> None:
        self.looks.append(look)
        for name, times in (("handshake", look.handshakes), ("close", look.durations)):
            for role, number in zip(look.places["role"].tolist(), times.counts.sum(axis=1).tolist(), strict=True):
                self.counted[name, ROLES[role]] += number

    def _note_reasons(self, ends: Events) -> None:
        codes = close_reasons(ends["from_state"], ends["error"], ends["flags"])
        self.reasons.update(CLOSE_REASONS[code] for code in codes.tolist())

    def all(self, kind: str) -> Counter[str]:
        """Return the handshakes or ends that have come so far, by role, whatever told of them."""
        self.read()
        return Counter({role: self.recorded[kind, role] + self.counted[kind, role] for role in ("client", "server")})

    def look(self) -> None:
        """Do as if all sockets were looked at."""
        with self.places.apart():
            self.read()

    def is_busy(self) -> bool:
        """Return whether any place is counted, after another look."""
        self.read()
        return bool(len(self.places.busy()))


@contextmanager
def tallying(port: int, reads: Reads = Reads.CASTS) -> Iterator[Tallying]:
    """Yield programs that count a port's connections, and have looked at all sockets; reads: as Settings has it."""
    settings = Settings(Filters(ports=(port,)), snapshots=True, owners=False, counts=True, reads=reads)
    with closing(LiveSource(load_programs(settings))) as source:
        assert source.places is not None
        found = Tallying(source, source.places)
        found.look()
        yield found
