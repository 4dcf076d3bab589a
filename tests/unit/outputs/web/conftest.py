from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.outputs.web.servers import serving
from tracer.model.report import Report
from tracer.outputs.web.http import Server


@pytest.fixture
def server(report: Report) -> Iterator[Server]:
    with serving(report) as server:
        yield server
