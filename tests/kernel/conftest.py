"""What kernel tests share: namespaces, and ports for the services that they make up."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel import net
from tests.kernel.repeating import UNREACHED
from tests.kernel.unreached import Unreached, unreached
from tests.kernel.watching import Watching, watching
from tests.needs import tool

# No two processes of tests on one machine should see each other's ports; those of one session have neighbouring numbers.
_first = os.getpid() * 3 % 200 * 100
_ports = itertools.count(3000 + _first)
_high_ports = itertools.count(61_000 + _first // 5)


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


@pytest.fixture(name="watch_of_file", scope="module")
def fixture_watch_of_file(service: int) -> Iterator[Watching]:
    """Return a `tcptrace events` that prints all of the file's two services, in every namespace."""
    with watching("--port", str(service), "--port", str(service + 1)) as watch:
        yield watch


@pytest.fixture(name="watch")
def fixture_watch(watch_of_file: Watching) -> Watching:
    """Return it without what it printed in earlier tests: in their namespaces a client may have had the same port."""
    watch_of_file.events.clear()
    return watch_of_file


@pytest.fixture(name="unreached", scope="session", autouse=True)
def fixture_unreached(request: pytest.FixtureRequest) -> Iterator[Unreached]:
    """Return what knows of hits that reached no program since the test began."""
    with unreached() as hits:
        request.config.stash[UNREACHED] = hits
        yield hits
    request.config.stash[UNREACHED] = None
