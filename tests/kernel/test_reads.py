"""The same connections, told whatever way the kernel's memory is read, in whole records and in their beginnings."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

import pytest

from tests.kernel.following import Following, Record
from tests.kernel.net import Namespace
from tests.kernel.traffic import connect, listening
from tests.kernel.until import until
from tests.needs import LACKS
from tracer.ingest.decode import BEGINNING
from tracer.ingest.livesource import LiveSource
from tracer.kernel.filters import Filters
from tracer.kernel.launch import load_programs
from tracer.kernel.settings import Reads, Settings
from tracer.model.tcp import KIND

pytestmark = pytest.mark.kernel

ALIKE = (
    *("kind", "role", "family", "local_address", "remote_address", "netns", "cgroup", "pid", "process", "error", "flags"),
    *("sent_bytes", "received_bytes", "unacknowledged_bytes", "visited", "from_state", "to_state"),
)
"""Columns in which one connection does not differ from the next like it."""

BYTES = 1000
ENDS = 5


def told(side: Namespace, settings: Settings, names: Sequence[str] = ALIKE) -> tuple[str, list[tuple[bytes, ...]]]:
    """Return how memory was read, and what was told of a connection over each family and of one that was refused."""
    (port,) = settings.filters.ports
    loaded = load_programs(settings)
    with closing(LiveSource(loaded)) as source:
        seen = Following(source)
        for address in ("127.0.0.1", "::1"):
            with listening(side, address, port) as listener:
                client = connect(side, address, port)
                server, _ = listener.accept()
                client.sendall(b"x" * BYTES)
                assert server.recv(BYTES, socket.MSG_WAITALL) == b"x" * BYTES
                client.close()
                assert server.recv(1) == b""
                server.close()
        with pytest.raises(ConnectionRefusedError):
            connect(side, "127.0.0.1", port)
        until(lambda: sum(is_end(record) for record in seen.records) == ENDS, "all five ends are told")
        records = [tuple(record[name].tobytes() for name in names) for record in seen.records]
        return loaded.reads, sorted(records)


def is_end(record: Record) -> bool:
    """Whether a record is of the end of a connection, or of an attempt at one."""
    return int(record["kind"]) in {KIND["close"], KIND["failure"]}


@pytest.mark.parametrize("reads", [Reads.TYPED, Reads.CASTS])
@pytest.mark.parametrize("follow", [False, True], ids=["run", "follow"])
def test_direct_loads_and_helper_calls_tell_the_same(side: Namespace, service: int, follow: bool, reads: Reads) -> None:
    settings = Settings(Filters(ports=(service,)), follow=follow)
    used, direct = told(side, replace(settings, reads=reads))
    if used != reads:
        pytest.skip(f"{LACKS} what direct loads of this kind take")
    used, by_helper = told(side, replace(settings, reads=Reads.CALLS))
    assert used == Reads.CALLS
    assert by_helper == direct


def test_a_record_that_is_not_whole_begins_as_the_whole_one(side: Namespace, service: int) -> None:
    whole = Settings(Filters(ports=(service,)))
    beginning = replace(whole, owners=False)
    assert (whole.whole_records, beginning.whole_records) == (True, False)
    names = [name for name in ALIKE if name in (BEGINNING.names or ())]
    assert set(ALIKE) - set(names) == {"cgroup", "pid", "process"}
    assert told(side, beginning, names)[1] == told(side, whole, names)[1]
