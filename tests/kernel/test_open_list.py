"""What `tcptrace connections` shows beside `ss -ti` of the same moment, in every field that both have; and of ages.

It is asked for in this process, since a command takes a second in which the kernel goes on.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.ends import Pair
from tests.kernel.net import Namespace
from tests.kernel.openlist import CHUNK, DELAY, pair_of
from tests.kernel.scene import exchange
from tests.kernel.until import until
from tracer.commands.connections import LISTED_STATES as STATES_BITS, open_sockets
from tracer.ingest.owners import find_owners
from tracer.kernel.filters import Filters
from tracer.model.openlist import OpenList, rows_of

pytestmark = pytest.mark.needs("nft")

STATES = {"ESTAB": "established", "CLOSE-WAIT": "close_wait", "FIN-WAIT-1": "fin_wait1", "FIN-WAIT-2": "fin_wait2"}
SIZE = 1000
TICK = 0.01
UNSENT_AT, WINDOW_AT = 144, 228
"""Of tcpi_notsent_bytes and tcpi_snd_wnd in struct tcp_info."""

Row = dict[str, Any]


def ss(side: Namespace, where: str, role: str) -> Row:
    """Return what ss says of the only connection there, by the names of `connections`; last_…: seconds since payload passed."""
    text = side.run("ss", "-tinpOH", where)
    state, receive_queue, send_queue, local, remote, *words = text.split()
    found = dict(word.split(":", 1) for word in words if ":" in word)
    unsent, fins = int(found.get("notsent", 0)), state in {"CLOSE-WAIT", "FIN-WAIT-2"}
    return {
        "state": STATES[state],
        "local_address": local.rpartition(":")[0],
        "local_port": int(local.rpartition(":")[2]),
        "remote_address": remote.rpartition(":")[0],
        "remote_port": int(remote.rpartition(":")[2]),
        "pid": int(re.findall(r"pid=(\d+)", text)[0]),
        "process": re.findall(r'users:\(\("([^"]*)"', text)[0],
        # of what was acknowledged, the client's SYN and a FIN; of what was received, and of what waits, a FIN
        "sent_bytes": int(found.get("bytes_acked", 0)) - (role == "client") - (fins and state == "FIN-WAIT-2"),
        "received_bytes": int(found.get("bytes_received", 0)) - (fins and state == "CLOSE-WAIT"),
        "rtt_seconds": float(found["rtt"].split("/")[0]) / 1e3,
        "min_rtt_seconds": float(found["minrtt"]) / 1e3,
        "sent_segments": int(found["segs_out"]),
        "received_segments": int(found["segs_in"]),
        "retransmitted_segments": int(found.get("retrans", "0/0").split("/")[1]),
        "unsent_bytes": unsent,
        "unacknowledged_bytes": int(send_queue) - unsent,
        "receive_queue_bytes": int(receive_queue) - (state == "CLOSE-WAIT" and int(receive_queue) > 0),
        "congestion_window": int(found["cwnd"]),
        "last_sent": int(found.get("lastsnd", 0)) / 1e3,
        "last_received": int(found.get("lastrcv", 0)) / 1e3,
    }


@contextmanager
def listing(pair: Pair) -> Iterator[Callable[[str], Row]]:
    """Yield what returns one side's row of `tcptrace connections`."""
    filters = Filters(ports=(pair.port,))
    with closing(open_sockets(own_only=False)) as namespaces:

        def look(role: str) -> Row:
            found = OpenList(rows_of(namespaces.read(STATES_BITS), namespaces.read(STATES_BITS), filters))
            owners, _ = find_owners(found.inodes(places := found.order("wrong")))
            (row,) = (row for row in found.connections(places.tolist(), owners) if row.role == role)
            return asdict(row)

        yield look


def without_times(row: Row) -> Row:
    return {name: value for name, value in row.items() if not name.startswith("last_")}


def wait_for_agreement(pair: Pair, role: str, connection: Callable[[str], Row]) -> Row:
    """Return what `connections` says of one side between two looks of ss that are equal, once all that both have is equal."""
    side, where = pair.way.ends[role], f"{'dport' if role == 'client' else 'sport'} = :{pair.port}"
    differences: list[object] = []

    def look() -> Row | None:
        before, row, after = ss(side, where, role), connection(role), ss(side, where, role)
        if without_times(before) != without_times(after):
            return None
        wanted = {name: pytest.approx(v) if isinstance(v, float) else v for name, v in without_times(before).items()}
        if found := {name: (row[name], value) for name, value in wanted.items() if row[name] != value}:
            differences.append(found)
            return None
        for name, of in (("idle_seconds", min), ("age_least_seconds", max)):
            first, last = (of(each["last_sent"], each["last_received"]) for each in (before, after))
            assert first - TICK <= row[name] <= last + TICK
        return row

    try:
        found = until(look, f"connections and ss agree on the {role}")
    except AssertionError:
        raise AssertionError(differences[-3:]) from None
    assert found is not None
    return found


def fill(pair: Pair) -> None:
    """Have the client write until nothing more goes in, since the server does not read."""
    pair.client.setblocking(False)

    def is_full() -> bool:
        with suppress(BlockingIOError):
            while True:
                pair.client.send(CHUNK)
        info = pair.client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        unsent, window = (struct.unpack_from("=I", info, at)[0] for at in (UNSENT_AT, WINDOW_AT))
        return bool(unsent and not window)

    until(is_full, "the peer's window and our buffer are full")


def lose_one(pair: Pair) -> None:
    pair.way.lose(f"tcp dport {pair.port} meta length > {SIZE}")
    exchange(pair.client, pair.server, 23 * SIZE)
    exchange(pair.server, pair.client, 5 * SIZE)
    fill(pair)


def cut_off(pair: Pair) -> None:
    exchange(pair.client, pair.server, SIZE)
    pair.cut()
    pair.client.send(bytes(SIZE))
    until(lambda: ss(pair.way.client, f"dport = :{pair.port}", "client")["retransmitted_segments"], "it was retransmitted")


def close_one_side(pair: Pair) -> None:
    exchange(pair.client, pair.server, SIZE)
    exchange(pair.server, pair.client, SIZE)
    pair.server.shutdown(socket.SHUT_WR)
    pair.wait_until("client", "close_wait")


CASES: dict[str, tuple[Callable[[Pair], None], tuple[str, ...]]] = {
    "lossy and full": (lose_one, ("sent_bytes", "received_bytes", "retransmitted_segments", "unsent_bytes")),
    "cut off": (cut_off, ("unacknowledged_bytes", "retransmitted_segments")),
    "half closed": (close_one_side, ("sent_bytes", "received_bytes")),
}


@pytest.mark.parametrize("case", CASES)
def test_ss_says_the_same_of_both_sides_in_every_field_that_both_have(port: int, case: str) -> None:
    prepare, telling = CASES[case]
    with pair_of(port, DELAY) as pair:
        prepare(pair)
        with listing(pair) as connection:
            rows = {role: wait_for_agreement(pair, role, connection) for role in ("client", "server")}
    assert {name for name in telling if rows["client"][name]} == set(telling)
    assert {row["pid"] for row in rows.values()} == {os.getpid()}
    assert {row["process"] for row in rows.values()} == {Path("/proc/self/comm").read_text(encoding="utf-8").strip()}


def test_the_age_is_known_of_a_connection_that_has_carried_nothing_one_way_and_of_others_a_least_one(port: int) -> None:
    start = time.monotonic()
    with pair_of(port) as pair, listing(pair) as connection:
        established = time.monotonic()
        exchange(pair.client, pair.server, SIZE)
        before = time.monotonic()
        one_way = connection("client")
        assert before - established - TICK <= one_way["age_seconds"] <= time.monotonic() - start + TICK
        assert one_way["age_seconds"] == one_way["age_least_seconds"] >= one_way["idle_seconds"]
        since = time.monotonic()
        exchange(pair.server, pair.client, SIZE)
        both = connection("client")
        assert both["age_seconds"] is None
        assert both["idle_seconds"] <= both["age_least_seconds"] <= time.monotonic() - established + TICK
        assert both["idle_seconds"] <= time.monotonic() - since + TICK
