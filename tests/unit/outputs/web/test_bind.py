"""The address at which the server listens: what it says of it, and what it refuses."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from tests.needs import ROOT
from tests.unit.outputs.web.servers import ask
from tracer.errors import TcptraceError
from tracer.model.report import Report
from tracer.outputs.web.http import Server, serve
from tracer.outputs.web.listening import bind


def test_the_address_has_the_port_that_the_kernel_chose(server: Server) -> None:
    host, _, port = server.address.rpartition(":")
    assert host == "127.0.0.1"
    assert int(port) > 0


def test_ipv6_is_served_and_written_in_brackets(report: Report) -> None:
    try:
        sock = bind("[::1]:0")
    except TcptraceError as error:
        pytest.skip(f"no IPv6 here: {error.what}")
    server = serve(sock, lambda: report, lambda: True)
    assert server.address.startswith("[::1]:")
    assert ask(server, "/healthz")[0] == 200
    server.close()


def test_a_port_alone_is_served_on_every_address(report: Report) -> None:
    server = serve(bind(":0"), lambda: report, lambda: True)
    port = int(server.address.rpartition(":")[2])
    for host in ["127.0.0.1", *(["::1"] if server.address.startswith("[::]") else [])]:
        with socket.create_connection((host, port), timeout=10) as sock:
            sock.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert sock.recv(100).startswith(b"HTTP/1.1 200")
    server.close()


def test_a_port_in_use_is_said_with_what_to_do() -> None:
    with bind("127.0.0.1:0") as sock:
        address = f"127.0.0.1:{sock.getsockname()[1]}"
        with pytest.raises(TcptraceError) as error:
            bind(address)
    assert error.value.what == f"cannot listen on {address}: address already in use"
    assert error.value.hint == "choose another address with --listen HOST:PORT"


MALFORMED = ["", "19293", "localhost", "127.0.0.1:", ":", "127.0.0.1:http", "1.2.3.4:65536", "::1:80", "[::1]", "[]:80", "h:-1"]


@pytest.mark.parametrize("listen", MALFORMED)
def test_what_is_no_host_and_port_is_refused_with_an_example(listen: str) -> None:
    with pytest.raises(TcptraceError, match="not HOST:PORT") as error:
        bind(listen)
    assert "127.0.0.1:19293" in (error.value.hint or "")


@pytest.mark.parametrize("listen", ["host.invalid:80", "exa mple:80", "a" * 70 + ":80", "ü..ü:80"])
def test_a_host_that_does_not_exist_is_refused(listen: str) -> None:
    with pytest.raises(TcptraceError, match="is unknown"):
        bind(listen)


LOADED = """
import sys
from tracer.outputs.web.listening import bind
bind("127.0.0.1:0").close()
print(*[name for name in sys.modules if name in {"encodings.idna", "stringprep"}])
"""


def test_no_tables_of_letters_are_loaded_for_an_ordinary_name() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
