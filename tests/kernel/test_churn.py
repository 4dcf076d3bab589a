"""Forty thousand connections as fast as they can be made: nothing is lost, and the kernel's own counters say the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel.net import Namespace
from tests.kernel.tracing import Summary, tracing
from tests.kernel.unreached import Hits, Unreached
from tests.kernel.until import until

pytestmark = pytest.mark.needs("gcc")

CONNECTIONS = 40_000
ALL = CONNECTIONS + 1
"""With that of the scrape."""
WORKERS = 2
ROLES = ("client", "server")


def kernel_counts(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {name: after[name] - before[name] for name in ("ActiveOpens", "PassiveOpens", "EstabResets", "RetransSegs")}


def traced_counts(summary: Summary) -> dict[str, int]:
    """Return what the transitions say of the kernel's four counters."""
    seen = summary.transitions
    no_port = summary.count("failures", reason="no_port")
    return {
        "ActiveOpens": seen["close", "syn_sent"] - no_port,
        "PassiveOpens": seen["listen", "syn_recv"],
        "EstabResets": seen.get(("established", "close"), 0) + seen.get(("close_wait", "close"), 0),
        "RetransSegs": sum(row["count"] for row in summary.document["retransmitted_segments"]),
    }


def missed_counts(hits: Hits) -> dict[str, int]:
    """Return what hits that reached no program must be missing in our counts, beside nothing else."""
    edges = hits.transitions
    return {
        **hits.audited(),
        "client handshakes": edges["syn_sent", "established"],
        "server handshakes": edges["syn_recv", "established"],
        "closes": hits.ends() - edges["listen", "close"],
    }


def test_the_counts_of_fast_connections_equal_the_kernels(
    churn: Path, side: Namespace, service: int, record_property: Callable[[str, object], None], unreached: Unreached
) -> None:
    """Exactly, although the kernel skips runs of a program on a crowded CPU: the second one compensates for them."""
    with tracing("--netns", "own", side=side) as tracer:
        before = side.counters()
        seconds = float(side.run(str(churn), str(WORKERS), str(CONNECTIONS), str(service)))
        until(lambda: side.open_sockets() == 0, "every connection has ended")
        found_out = tracer.scrape().value("events_unreached_total")
        until(lambda: side.open_sockets() == 0, "the scrape's connection has ended")
        kernel = kernel_counts(before, side.counters())
        misses = tracer.misses()
        summary = tracer.stop()
    record_property("connections_per_second", round(CONNECTIONS / seconds))
    print(f"{CONNECTIONS / seconds:,.0f} connections per second, {misses} runs skipped by the kernel")
    assert kernel["ActiveOpens"] == ALL
    assert kernel["EstabResets"] >= CONNECTIONS // 4
    assert summary.document["events_lost"] == 0
    assert summary.document["connections_untracked"] == 0
    assert summary.document["failures"] == []
    expected = kernel | {f"{role} handshakes": ALL for role in ROLES} | {"closes": len(ROLES) * ALL}
    seen = traced_counts(summary) | {f"{role} handshakes": summary.count("handshakes", role=role) for role in ROLES}
    seen["closes"] = summary.count("closes")
    hits = unreached.hits().at(service, service + 1)
    missed = missed_counts(hits)
    assert found_out is not None
    assert found_out <= hits.transitions.total()
    assert {name: count - seen[name] for name, count in expected.items()} == missed
