"""What a service manager is told, over real sockets."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.until import until
from tests.unit.model.builder import SECOND, reading
from tests.unit.test_pipeline import pipeline_of, recorded
from tracer.commands.notify import ServiceManager
from tracer.ingest.source import Context, Reading
from tracer.model.report import Report
from tracer.model.totals import Model
from tracer.pipeline import Pipeline, drain


@pytest.fixture(name="manager")
def fixture_manager() -> Iterator[socket.socket]:
    """Return a socket in the abstract namespace, as of a manager."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0tcptrace-test-{os.getpid()}")
        manager.settimeout(30)
        yield manager


def address_of(manager: socket.socket) -> str:
    name: bytes = manager.getsockname()
    return "@" + name[1:].decode()


def heard(manager: socket.socket) -> dict[str, str]:
    """Return the next message, as names and values."""
    return dict(line.split("=", 1) for line in manager.recv(4096).decode().splitlines())


def ignore(_: Report) -> None:
    """Show a Report to nobody."""


def test_a_manager_hears_of_the_beginning_and_the_end(manager: socket.socket) -> None:
    with ServiceManager({"NOTIFY_SOCKET": address_of(manager)}).serving("http://127.0.0.1:19293/", ignore):
        assert heard(manager) == {"READY": "1", "STATUS": "attached; metrics on http://127.0.0.1:19293/metrics"}
    assert heard(manager)["STOPPING"] == "1"


def test_a_socket_that_is_a_file_is_found_too(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        with ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify")}).serving("here", ignore):
            assert heard(manager)["READY"] == "1"


def test_the_second_s_line_becomes_the_status_and_is_not_printed(manager: socket.socket) -> None:
    printed: list[Report] = []
    with ServiceManager({"NOTIFY_SOCKET": address_of(manager)}).serving("here", printed.append) as tell:
        heard(manager)
        tell(pipeline_of(recorded()).report())
        status = heard(manager)
    assert status["STATUS"].startswith("handshakes=0 ")
    assert "WATCHDOG" not in status
    assert printed == []


@pytest.mark.parametrize(("pid", "alive"), [(str(os.getpid()), True), ("1", False)], ids=["ours", "another's"])
def test_a_sign_of_life_is_given_to_who_watches_this_process(manager: socket.socket, pid: str, alive: bool) -> None:
    environment = {"NOTIFY_SOCKET": address_of(manager), "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": pid}
    with ServiceManager(environment).serving("here", ignore) as tell:
        heard(manager)
        tell(pipeline_of(recorded()).report())
        assert ("WATCHDOG" in heard(manager)) is alive


class Stuck:
    """A source that is read twice, and then never comes back until it is let go."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.stuck, self.go_on = threading.Event(), threading.Event()
        self._stop_at = 3

    def read(self) -> Reading | None:
        """Return nothing new, twice; then hang."""
        self._stop_at -= 1
        if self._stop_at == 0:
            self.stuck.set()
            self.go_on.wait(60)
        return reading(time_ns=SECOND)

    def close(self) -> None:
        """Let go of nothing."""


def test_the_sign_of_life_stops_where_the_draining_does(manager: socket.socket) -> None:
    environment = {"NOTIFY_SOCKET": address_of(manager), "WATCHDOG_USEC": "3000000"}
    source, stop = Stuck(pipeline_of(recorded())._source.context), threading.Event()
    pipeline = Pipeline(source, Model(source.context))
    with ServiceManager(environment).serving("here", ignore) as tell:
        thread = threading.Thread(target=drain, args=(pipeline, stop, None, tell))
        thread.start()
        heard(manager)
        assert heard(manager)["WATCHDOG"] == "1"
        source.stuck.wait(60)
        manager.setblocking(False)
        until(lambda: is_silent(manager), "all that was said before is heard")
        thread.join(1.5)  # time enough for another sign, if one came
        assert thread.is_alive()
        with pytest.raises(BlockingIOError):
            manager.recv(1)
        source.go_on.set()
        manager.settimeout(30)
        assert heard(manager)["WATCHDOG"] == "1"
        stop.set()
        thread.join()


def is_silent(manager: socket.socket) -> bool:
    try:
        manager.recv(4096)
    except BlockingIOError:
        return True
    return False


def test_without_a_manager_nothing_changes() -> None:
    with ServiceManager({}).serving("here", ignore) as show:
        assert show is ignore


@pytest.mark.parametrize("address", ["/nonexistent/notify", "@tcptrace-test-nobody", "vsock:2:1234", "/" + 200 * "x"])
def test_a_manager_that_cannot_be_reached_is_said_and_nothing_else_changes(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with ServiceManager({"NOTIFY_SOCKET": address}).serving("here", ignore) as show:
        assert show is ignore
    said = capsys.readouterr().err
    assert "cannot tell the service manager" in said
    assert "hint:" in said


def test_a_manager_that_goes_away_is_complained_about_once(manager: socket.socket, capsys: pytest.CaptureFixture[str]) -> None:
    with ServiceManager({"NOTIFY_SOCKET": address_of(manager)}).serving("here", ignore) as tell:
        manager.close()
        for _ in range(3):
            tell(pipeline_of(recorded()).report())
    assert capsys.readouterr().err.count("cannot tell the service manager") == 1
