"""A pytest plugin for guests, one of which may be ended before pytest sums up: what is known is written at once.

Each failure goes to $OUT/failures, and the line of a test that cannot hold on this kernel ends with LACKS.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.needs import LACKS


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write what went wrong."""
    if report.failed:
        with Path(os.environ["OUT"], "failures").open("a", encoding="utf-8") as file:
            file.write(f"{report.nodeid} ({report.when})\n{report.longreprtext}\n{report.capstdout}{report.capstderr}\n")


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Tell what this kernel lacks from other skips."""
    return ("lacks", "l", "LACKS") if report.skipped and LACKS in str(report.longrepr) else None
