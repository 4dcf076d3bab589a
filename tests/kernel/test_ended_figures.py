"""What was out of order, and what held a connection up, until its very end: as the kernel's own TCP_INFO says."""

from __future__ import annotations

import socket
import struct
import time
from contextlib import suppress

import pytest

from tests.kernel.ends import abort, connected
from tests.kernel.path import DELAY
from tests.kernel.scene import exchange
from tests.kernel.tracing import Scrape, Tracing, tracing
from tests.kernel.until import until

pytestmark = pytest.mark.needs("nft")

TIMES_AT, OUT_OF_ORDER_AT, UNACKNOWLEDGED_AT = 168, 224, 24
"""In struct tcp_info: of tcpi_busy_time, behind which are tcpi_rwnd_limited and tcpi_sndbuf_limited; of two others."""

SEGMENTS, SIZE = 23, 1000
TICK = 0.01
"""The longest that a kernel may have."""

Figures = tuple[int, int, int, int]
"""Microseconds: busy, limited by the peer's window, by the send buffer; segments out of order."""


def told(end: socket.socket) -> Figures:
    """Return what the kernel says of a socket."""
    info = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return (*struct.unpack_from("=3Q", info, TIMES_AT), struct.unpack_from("=I", info, OUT_OF_ORDER_AT)[0])


def is_quiet(end: socket.socket) -> bool:
    """Say whether the peer has acknowledged everything."""
    info = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return not struct.unpack_from("=I", info, UNACKNOWLEDGED_AT)[0]


def counted(scrape: Scrape, role: str) -> Figures:
    """Return the same as it was counted for one side."""
    times = (
        scrape.value("busy_seconds_total", role=role),
        *(scrape.value("limited_seconds_total", role=role, by=by) for by in ("receive_window", "send_buffer")),
    )
    busy, window, buffer = (round((seconds or 0) * 1e6) for seconds in times)
    return busy, window, buffer, int(scrape.value("out_of_order_segments_total", role=role) or 0)


def after_the_end(tracer: Tracing) -> Scrape:
    """Return a scrape that has both ends of the connection."""
    until(lambda: tracer.scrape().value("connections_closed_total") == 2, "both ends were recorded")
    return tracer.scrape()


def test_a_connection_that_no_dump_has_seen_is_counted_as_the_kernel_had_it_at_its_end(port: int) -> None:
    # the namespaces are younger than the tracer, so that no dump has figures of their connections
    with tracing("--port", str(port)) as tracer, connected(port, DELAY) as pair:
        pair.way.lose(f"tcp dport {port} meta length > {SIZE}")
        for _ in range(SEGMENTS):
            pair.client.send(bytes(SIZE))
        until(lambda: len(pair.server.recv(1 << 20, socket.MSG_PEEK)) == SEGMENTS * SIZE, "all has arrived")
        exchange(pair.server, pair.client, SEGMENTS * SIZE)
        for end in (pair.client, pair.server):
            until(lambda end=end: is_quiet(end), "all was acknowledged")  # type: ignore[misc]
        wanted = {"client": told(pair.client), "server": told(pair.server)}
        abort(pair.client)
        scrape = after_the_end(tracer)
    assert {role: counted(scrape, role) for role in wanted} == wanted
    assert wanted["client"][0] >= DELAY * 1e6
    assert wanted["server"][3] >= 1


def test_time_in_which_the_peers_window_is_shut_counts_until_the_end_itself(port: int) -> None:
    with tracing("--port", str(port)) as tracer, connected(port) as pair:
        pair.client.setblocking(False)

        def is_shut() -> bool:
            with suppress(BlockingIOError):
                while True:
                    pair.client.send(bytes(1 << 16))
            return told(pair.client)[1] > 2 * TICK * 1e6

        until(is_shut, "the window is shut")
        before, start = told(pair.client), time.monotonic()
        abort(pair.client)
        most = (time.monotonic() - start + TICK) * 1e6
        busy, window, *_ = counted(after_the_end(tracer), "client")
    assert before[0] <= busy <= before[0] + most
    assert before[1] <= window <= before[1] + most
