"""TLS and passwords of a real run: read by root, kept when unprivileged, and no traffic of its own left behind."""

from __future__ import annotations

import base64
import os
import ssl
from contextlib import closing
from pathlib import Path

import pytest

from tests.kernel.net import Namespace
from tests.kernel.tracing import Tracing, start, tracing
from tests.kernel.until import PATIENCE
from tests.needs import tool
from tests.unit.outputs.web.secured import ALICE, REQUIRED, TLS, ask, authority, client_context, configuration, connect

SCRAPES = 23
USER = "alice:secret"
TEXT = f"{REQUIRED}basic_auth_users: {{alice: {ALICE}}}\n"


def private(place: Path, text: str) -> Path:
    """Write a web configuration that none but root can read, with all that it names."""
    path = configuration(place, text)
    for file in place.iterdir():
        file.chmod(0o600)
        assert file.stat().st_uid == os.geteuid() == 0
    return path


def welcome() -> ssl.SSLContext:
    return client_context(authority().issue_cert("prometheus.example"))


def test_a_key_that_only_root_can_read_serves_an_unprivileged_process(tmp_path: Path) -> None:
    with tracing("--web-config", str(private(tmp_path, TEXT))) as tracer:
        assert "0" not in tracer.status()["Uid"].split()
        assert "metrics on https://" in "".join(tracer._log)
        assert ask(tracer.address, context=welcome(), user="eve:secret")[0] == 401
        status, body, _ = ask(tracer.address, context=welcome(), user=USER)
        assert status == 200
        assert b"tcptrace_build_info" in body
        assert ask(tracer.address, "/", context=welcome(), user=USER)[0] == 200
        assert ask(tracer.address, context=client_context(), user=USER)[0] == 403
        summary = tracer.stop()
    assert summary.status == 0
    assert "Traceback" not in summary.log


def test_a_web_configuration_that_will_not_do_ends_the_start_with_the_reason(tmp_path: Path) -> None:
    path = private(tmp_path, TLS + "  client_auth_type: RequireAnyClientCert\n")
    with start("--web-config", str(path)) as process:
        out, log = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (1, b"")
    assert log.decode().startswith(f"tcptrace: {path}: tls_server_config.client_auth_type is RequireAnyClientCert")
    assert "hint: " in log.decode()


@pytest.mark.parametrize("text", ["", TEXT], ids=["plain", "tls"])
def test_scrapes_over_one_connection_leave_nothing_in_time_wait(side: Namespace, tmp_path: Path, text: str) -> None:
    options = ("--netns", "own", "--web-config", str(private(tmp_path, text)))
    with tracing(*options, side=side) as tracer:
        opened = side.counters()["ActiveOpens"]
        headers = {"Authorization": f"Basic {base64.b64encode(USER.encode()).decode()}"}
        with side.inside(), closing(connect(tracer.address, welcome() if text else None)) as connection:
            for _ in range(SCRAPES):
                connection.request("GET", "/metrics", headers=headers)
                assert connection.getresponse().read().endswith(b"\n")
            assert time_waits(side, tracer) == []
        assert side.counters()["ActiveOpens"] - opened == 1


def time_waits(side: Namespace, tracer: Tracing) -> list[str]:
    """Return the lines of ss about sockets in TIME_WAIT at the tracer's port."""
    port = tracer.address.rpartition(":")[2]
    return side.run(tool("ss"), "-tanH", "state", "time-wait", f"( sport = :{port} or dport = :{port} )").splitlines()
