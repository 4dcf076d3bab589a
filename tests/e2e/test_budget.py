"""Debian's Prometheus while a label set leaves: what it adds up from increases is what has happened, and no more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.e2e.server import ADDRESS, prometheus
from tests.kernel.until import until
from tests.unit.model.builder import CONTEXT, SECOND, events, reading
from tracer.ingest.decode import Events
from tracer.model.totals import Model
from tracer.outputs.web.http import serve
from tracer.outputs.web.listening import bind

pytestmark = [pytest.mark.kernel, pytest.mark.needs("prometheus")]

NAME = "tcptrace_handshakes_total"
TIMES = 1000


def connections(port: int, count: int) -> Events:
    """Return the beginnings and ends of connections."""
    return np.concatenate([events("handshake", count, port=port), events("close", count, port=port)])


def test_the_increase_is_right_while_a_set_leaves_and_returns(tmp_path: Path) -> None:
    model = Model(CONTEXT, label_ttl=60, start_ns=0)
    model.add(reading(connections(443, 1), connections(80, 1), time_ns=SECOND))
    served = serve(bind(f"{ADDRESS}:0"), model.report, lambda: True, max_series=5000)
    try:
        with prometheus(tmp_path, served.address, interval="200ms") as server:

            def scraped(expression: str, value: float | None) -> None:
                until(lambda: server.value(expression) == value, f"{expression} is {value}")

            scraped(f"sum({NAME})", 2)
            model.add(reading(connections(80, TIMES), time_ns=2 * SECOND))
            scraped(f"sum({NAME})", TIMES + 2)
            model.add(reading(connections(443, 1), time_ns=100 * SECOND))  # port 80 leaves
            scraped(f'{NAME}{{left="yes"}}', TIMES + 1)
            scraped(f'{NAME}{{port="80"}}', None)
            scraped(f"sum({NAME})", TIMES + 3)
            model.add(reading(connections(80, 7), time_ns=101 * SECOND))  # and is back
            scraped(f'{NAME}{{port="80"}}', 7)
            scraped(f"sum({NAME})", TIMES + 10)
            resets = server.value(f"sum(resets({NAME}[1h]))")
            others = server.value(f'increase({NAME}{{role="client",port="443"}}[1h])')
            of_roles = server.value(f'sum(increase({NAME}{{left=""}}[1h]))')
            whole = server.value(f"increase(sum({NAME})[1h:200ms])")
    finally:
        served.close()
    assert resets == 1, "port 80 began anew, and nothing else fell"
    # increase() reaches beyond the first and last sample; what is counted twice would be a thousand more
    assert others == pytest.approx(1, rel=0.5)
    assert of_roles == pytest.approx(TIMES + 8, rel=0.5)
    assert whole == pytest.approx(TIMES + 8, rel=0.5)
