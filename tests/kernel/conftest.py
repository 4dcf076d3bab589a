"""What kernel tests share: namespaces, and ports for the services that they make up."""

from __future__ import annotations

import gc
import itertools
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol

from tests.kernel import net
from tests.kernel.unreached import Unreached, unreached
from tests.kernel.watching import Watching, watching
from tests.needs import tool

# No two sessions on one machine, each with its own process id, should see each other's ports.
_first = os.getpid() % 200 * 100
_ports = itertools.count(3000 + _first)
_high_ports = itertools.count(61_000 + _first // 5)

TRIES = 5
"""How often a test is run at most, while hits reach no program and it fails."""

UNREACHED = pytest.StashKey[Unreached | None]()
REPEATED = pytest.StashKey[list[str]]()


@pytest.fixture(name="link")
def fixture_link() -> Iterator[net.Link]:
    """Return two joined namespaces."""
    with net.link() as link:
        yield link


@pytest.fixture(name="side")
def fixture_side() -> Iterator[net.Namespace]:
    """Return a namespace of its own, with lo up."""
    with net.namespace() as side:
        yield side


@pytest.fixture(name="port")
def fixture_port() -> int:
    """Return a service port of this test's alone, below the ephemeral ones, so that nobody gets it by chance."""
    return next(_ports)


@pytest.fixture(name="high_port")
def fixture_high_port() -> int:
    """Return a service port of this test's alone, above the ephemeral ones."""
    return next(_high_ports)


@pytest.fixture(name="service", scope="module")
def fixture_service() -> int:
    """Return a service port of this file's alone; the next one is its as well."""
    port = next(_ports)
    next(_ports)
    return port


@pytest.fixture(name="churn", scope="session")
def fixture_churn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the compiled program that makes connections as fast as it can; for tests that need gcc."""
    program = tmp_path_factory.mktemp("churn") / "churn"
    source = Path(__file__).with_name("churn.c")
    subprocess.run([tool("gcc"), "-O2", "-Wall", "-Werror", "-o", str(program), str(source)], check=True)
    return program


@pytest.fixture(name="watch", scope="module")
def fixture_watch(service: int) -> Iterator[Watching]:
    """Return a `tcptrace events` that prints all of the file's two services, in every namespace."""
    with watching("--port", str(service), "--port", str(service + 1)) as watch:
        yield watch


@pytest.fixture(name="unreached", scope="session", autouse=True)
def fixture_unreached(request: pytest.FixtureRequest) -> Iterator[Unreached]:
    """Return what knows of hits that reached no program since the test began."""
    with unreached() as hits:
        request.config.stash[UNREACHED] = hits
        yield hits
    request.config.stash[UNREACHED] = None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a kernel test; once more if it failed and, meanwhile, hits of tracepoints reached no program at all.

    A test that fails without such hits has failed.
    """
    if Path(__file__).parent not in item.path.parents:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports: list[pytest.TestReport] = []
    for _ in range(TRIES):
        if hits := item.config.stash.get(UNREACHED, None):
            hits.forget()
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        hits = item.config.stash.get(UNREACHED, None)
        missed = hits.hits().every if hits and any(report.failed for report in reports) else ()
        if not missed:
            break
        free_failure()
        item.config.stash.setdefault(REPEATED, []).append(f"{item.nodeid}: {len(missed)} hits")
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    if any(report.failed for report in reports):
        free_failure()
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def free_failure() -> None:
    """Free what a failed test has left open, which else would be a ResourceWarning, and a failure, of some later test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of these as well: pytest keeps it for the phase that comes next
        sys.last_type = sys.last_value = sys.last_traceback = None
        gc.collect()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which tests were repeated."""
    if repeated := config.stash.get(REPEATED, []):
        terminalreporter.section("repeated, since hits of tracepoints reached no program")
        for line in repeated:
            terminalreporter.line(line)
