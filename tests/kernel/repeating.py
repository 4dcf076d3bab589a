"""A pytest plugin that repeats kernel tests which failed while hits of tracepoints reached no program, and says so.

Where so much went on that the record of hits was overwritten, it is not known whether there were any, which counts as well.
"""

from __future__ import annotations

import gc
import sys
import warnings
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol

from tests.kernel.unreached import Unreached

HERE = Path(__file__).parent

TRIES = 5
"""How often a test is run at most, while hits reach no program and it fails."""

UNREACHED = pytest.StashKey[Unreached | None]()

REPEATED = "repeated"
"""The property of a report that says why its test was repeated; reports of workers keep it."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a kernel test; once more if it failed and, meanwhile, hits of tracepoints may have reached no program at all.

    A test that fails without such hits has failed.
    """
    if HERE not in item.path.parents:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports: list[pytest.TestReport] = []
    repeated = []
    for _ in range(TRIES):
        if hits := item.config.stash.get(UNREACHED, None):
            hits.forget()
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        hits = item.config.stash.get(UNREACHED, None)
        excuse = excuse_of(hits) if hits and any(report.failed for report in reports) else ""
        if not excuse:
            break
        free_failure()
        repeated.append((REPEATED, excuse))
    for report in reports:
        report.user_properties.extend(repeated if report.when == "teardown" else [])
        item.ihook.pytest_runtest_logreport(report=report)
    if any(report.failed for report in reports):
        free_failure()
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def excuse_of(hits: Unreached) -> str:
    """Return what hits reached no program since they were forgotten; nothing when there were none."""
    missed, overwritten = len(hits.hits().every), hits.overwritten()
    return f"{missed} hits, {overwritten} overwritten" if missed or overwritten else ""


def free_failure() -> None:
    """Free what a failed test has left open, which else would be a ResourceWarning, and a failure, of some later test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of these as well: pytest keeps it for the phase that comes next
        sys.last_type = sys.last_value = sys.last_traceback = None
        gc.collect()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which tests were repeated."""
    reports = [report for found in terminalreporter.stats.values() for report in found if isinstance(report, pytest.TestReport)]
    lines = [f"{one.nodeid}: {value}" for one in reports for name, value in one.user_properties if name == REPEATED]
    if lines:
        terminalreporter.section("repeated, since hits of tracepoints reached no program")
        terminalreporter.write("\n".join(lines) + "\n")
