"""The metrics of what connections carry, open ones included: a part of the table in metrics.py."""

from __future__ import annotations

from tracer.ingest.figures import QUEUES
from tracer.model.report import LIMITS
from tracer.outputs.metric import L, Metric
from tracer.outputs.samples import by_series, by_series_and, leaking, of_listeners, open_rtt, queue

LIVE = ": of connections that ended, and of open ones as of the last dump; existing ones from the first dump on."
QUEUED = (
    "Bytes that the application wrote and that were not sent yet.",
    "Bytes that were sent and not acknowledged yet.",
    "Bytes received that the application has not read yet.",
)

CARRIED: tuple[Metric, ...] = (
    Metric("sent_bytes_total", "counter", "Payload sent and acknowledged" + LIVE, (L,), by_series(lambda s: s.sent_bytes)),
    Metric("received_bytes_total", "counter", "Payload received" + LIVE, (L,), by_series(lambda s: s.received_bytes)),
    Metric("sent_segments_total", "counter", "Segments sent, all kinds" + LIVE, (L,), by_series(lambda s: s.sent_segments)),
    Metric("received_segments_total", "counter", "Segments received" + LIVE, (L,), by_series(lambda s: s.received_segments)),
    Metric(
        "out_of_order_segments_total",
        "counter",
        "Segments received ahead of others" + LIVE,
        (L,),
        by_series(lambda s: s.out_of_order_segments),
    ),
    Metric(
        "busy_seconds_total",
        "counter",
        "Time with data that were sent and not acknowledged, or waited to be sent" + LIVE,
        (L,),
        by_series(lambda s: s.busy_us / 1e6),
    ),
    Metric(
        "limited_seconds_total",
        "counter",
        "Of the busy time, that in which the peer's window, or the own send buffer, was too small" + LIVE,
        (L, "by"),
        by_series_and(LIMITS, lambda s: s.limited_us / 1e6),
    ),
    *(
        Metric(name, "gauge", f"{what} Of open connections as of the last dump.", (L,), queue(place))
        for place, (name, what) in enumerate(zip(QUEUES, QUEUED, strict=True))
    ),
    Metric(
        "open_rtt_seconds",
        "gauge",
        "Smoothed round-trip time of open connections as of the last dump; such a share of them have no longer one.",
        (L, "quantile"),
        open_rtt,
    ),
    Metric(
        "listener_backlog",
        "gauge",
        "Connections that wait to be accepted, of the fullest listener; process: who serves (with --label process).",
        ("port", "process"),
        of_listeners(lambda row: row.waiting),
        ("process",),
    ),
    Metric(
        "listener_backlog_limit",
        "gauge",
        "How many may wait there.",
        ("port", "process"),
        of_listeners(lambda row: row.limit),
        ("process",),
    ),
    Metric(
        "listener_drops_total",
        "counter",
        "Segments to listeners that were dropped: SYNs for want of room, and duplicates of one that is being answered.",
        ("port", "process"),
        of_listeners(lambda row: row.drops),
        ("process",),
    ),
    Metric(
        "close_wait_sockets",
        "gauge",
        "Traced connections whose peer has closed and whose process has not, the largest few (with --label process).",
        ("role", "port", "process"),
        leaking("close_wait"),
    ),
    Metric(
        "fin_wait2_sockets",
        "gauge",
        "Traced connections whose process has closed its side and whose peer has not, the largest few (with --label process).",
        ("role", "port", "process"),
        leaking("fin_wait2"),
    ),
)
