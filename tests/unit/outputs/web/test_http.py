from __future__ import annotations

import gzip
import socket
import subprocess
import sys
import threading
import time
import zlib
from contextlib import closing, suppress

import pytest

from tests.unit.outputs.metricfamily import families
from tests.unit.outputs.web.servers import ask, connect, plain, read_all, serving
from tracer.model.report import Report
from tracer.outputs.prometheus import PROTOBUF
from tracer.outputs.web.http import Server, serve
from tracer.outputs.web.listening import bind


def test_metrics_are_served_as_text(server: Server) -> None:
    status, body, headers = ask(server, "/metrics")
    assert status == 200
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b'tcptrace_handshakes_total{port="443",role="client"} 23.0\n' in body


def test_metrics_are_served_as_openmetrics_when_that_is_preferred(server: Server) -> None:
    status, body, headers = ask(server, "/metrics", Accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert status == 200
    assert headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert body.endswith(b"# EOF\n")


def test_metrics_are_served_as_protobuf_packed_when_a_scraper_wants_native_histograms(server: Server) -> None:
    accept = f"{PROTOBUF};q=0.6,application/openmetrics-text;q=0.5,*/*;q=0.1"
    status, body, headers = ask(server, "/metrics", Accept=accept, Accept_Encoding="gzip")
    assert (status, headers["Content-Type"], headers["Content-Encoding"]) == (200, PROTOBUF, "gzip")
    found = {family.name: family for family in families(gzip.decompress(body))}
    assert found["tcptrace_handshake_duration_seconds"].metric[0].histogram.schema == 3


def test_an_accept_header_may_come_in_several_lines(server: Server) -> None:
    with closing(connect(server)) as connection:
        connection.putrequest("GET", "/metrics")
        for accept in ("text/plain;q=0.3", PROTOBUF):
            connection.putheader("Accept", accept)
        connection.endheaders()
        answer = connection.getresponse()
        answer.read()
    assert answer.headers["Content-Type"] == PROTOBUF


def test_metrics_are_packed_when_the_client_can_unpack_them(server: Server) -> None:
    _, body, headers = ask(server, "/metrics", Accept_Encoding="deflate, gzip;q=0.9")
    assert headers["Content-Encoding"] == "gzip"
    assert b"tcptrace_handshakes_total" in gzip.decompress(body)


def test_metrics_are_not_packed_when_the_client_refuses(server: Server) -> None:
    assert "Content-Encoding" not in ask(server, "/metrics", Accept_Encoding="gzip;q=0, identity")[2]


def test_a_query_does_not_change_the_page(server: Server) -> None:
    assert ask(server, "/metrics?name=value")[0] == 200


def test_health_is_ok_only_while_healthy(report: Report) -> None:
    state = {"healthy": True}
    with serving(report, lambda: state["healthy"]) as server:
        assert ask(server, "/healthz")[:2] == (200, b"ok\n")
        state["healthy"] = False
        status, body, _ = ask(server, "/healthz")
    assert status == 503
    assert body.count(b"\n") == 1


def test_the_page_for_people_is_html_that_may_load_nothing(server: Server) -> None:
    status, body, headers = ask(server, "/")
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert b"<h1>tcptrace</h1>" in body


def test_the_report_is_html_that_runs_nothing(server: Server) -> None:
    status, body, headers = ask(server, "/report")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "script" not in headers["Content-Security-Policy"]
    assert b"client 443" in body


def test_files_are_served_at_their_paths_and_linked_on_the_page(report: Report) -> None:
    files = {"/rules": ("text/plain", zlib.compress(b"groups: []\n"))}
    server = serve(bind("127.0.0.1:0"), lambda: report, lambda: True, files=files)
    try:
        assert ask(server, "/rules")[:2] == (200, b"groups: []\n")
        page = ask(server, "/")[1]
        assert b'href="/rules"' in page
        assert b'href="/dashboards/fleet"' not in page
    finally:
        server.close()


def test_an_unknown_path_is_not_found_and_says_what_there_is(server: Server) -> None:
    status, body, _ = ask(server, "/metric")
    assert status == 404
    assert b"/metrics" in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_not_allowed(server: Server, method: str) -> None:
    status, _, headers = ask(server, "/metrics", method)
    assert (status, headers["Allow"], headers["Connection"]) == (405, "GET, HEAD", "close")


@pytest.mark.parametrize("path", ["/healthz", "/", "/nothing"])
def test_head_says_what_get_would_without_the_body(server: Server, path: str) -> None:
    status, body, headers = ask(server, path, "HEAD")
    assert body == b""
    assert (status, headers["Content-Length"]) == (ask(server, path)[0], str(len(ask(server, path)[1])))


def test_a_connection_serves_many_requests(server: Server) -> None:
    with closing(connect(server)) as connection:
        connection.connect()
        local = connection.sock.getsockname()
        for method in ("GET", "HEAD", "GET") * 7:
            connection.request(method, "/healthz")
            assert connection.getresponse().read() == (b"" if method == "HEAD" else b"ok\n")
            assert connection.sock.getsockname() == local


def test_a_request_with_a_body_ends_the_connection_so_that_the_body_is_no_request(server: Server) -> None:
    with plain(server) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 31\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_all(sock).count(b"HTTP/1.1 ") == 1


def test_nonsense_is_a_bad_request(server: Server) -> None:
    with plain(server) as sock:
        sock.sendall(b"\x16\x03\x01 is no HTTP at all\r\n\r\n")
        assert b"400" in read_all(sock)


def test_a_silent_client_is_let_go_and_does_not_hold_up_others(report: Report) -> None:
    with serving(report, patience=0.3) as server, plain(server) as silent:
        assert ask(server, "/healthz")[0] == 200
        assert silent.recv(1) == b""


def test_a_client_that_sends_a_byte_now_and_then_is_let_go_too(report: Report) -> None:
    with serving(report, patience=0.5) as server, plain(server) as slow:
        assert is_refused(slow)


def is_refused(sock: socket.socket) -> bool:
    """Say whether the server ends the connection while it gets a byte now and then."""
    with suppress(OSError):
        for _ in range(500):
            sock.sendall(b"G")
            time.sleep(0.05)
        return False
    return True


def test_a_connection_that_is_used_is_kept_longer_than_one_that_is_not(report: Report) -> None:
    with serving(report, patience=3) as server, closing(connect(server)) as connection:
        connection.connect()
        local = connection.sock.getsockname()
        began = time.monotonic()
        while time.monotonic() - began < 4:
            time.sleep(0.2)
            connection.request("GET", "/healthz")
            assert connection.getresponse().read() == b"ok\n"
            assert connection.sock.getsockname() == local


def test_too_many_connections_make_the_longest_waiting_one_go(report: Report) -> None:
    with serving(report, connections=3) as server:
        silent = [plain(server) for _ in range(5)]
        assert ask(server, "/healthz")[0] == 200
        assert [sock.recv(1) for sock in silent[:2]] == [b"", b""]
        for sock in silent:
            sock.close()


def test_closing_ends_connections_and_threads_and_frees_the_port(report: Report) -> None:
    before = set(threading.enumerate())  # of which some may still be ending
    with serving(report) as server, plain(server) as silent:
        ask(server, "/healthz")
        server.close()
        assert silent.recv(1) == b""
        server.close()
    deadline = time.monotonic() + 60
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not set(threading.enumerate()) - before
    bind(server.address).close()


def test_a_fault_in_the_report_is_a_server_error_for_that_request_only(
    report: Report, capfd: pytest.CaptureFixture[str]
) -> None:
    faults = iter([True, False])

    def sometimes() -> Report:
        if next(faults):
            raise ZeroDivisionError
        return report

    server = serve(bind("127.0.0.1:0"), sometimes, lambda: True)
    assert ask(server, "/metrics")[0] == 500
    assert ask(server, "/metrics")[0] == 200
    server.close()
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_nothing_is_imported_while_requests_are_answered() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


IMPORTS = f"""
import socket, sys
sys.path[:0] = {sys.path!r}
from tests.unit.outputs.conftest import model_of_traffic
from tracer.outputs.web.http import serve
from tracer.outputs.web.listening import bind
report = model_of_traffic().report()
server = serve(bind("127.0.0.1:0"), lambda: report, lambda: True)
before = set(sys.modules)
host, _, port = server.address.rpartition(":")
requests = [
    "GET /metrics HTTP/1.1\\r\\nHost: x\\r\\nAccept-Encoding: gzip\\r\\nAccept: application/openmetrics-text\\r\\n\\r\\n",
    "GET /metrics HTTP/1.1\\r\\nHost: \\xfc\\r\\nX-Folded: a\\r\\n b\\r\\n\\r\\n",
    "GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n",
    "HEAD /healthz HTTP/1.1\\r\\nHost: x\\r\\nExpect: 100-continue\\r\\n\\r\\n",
    "GET /none HTTP/1.0\\r\\n\\r\\n",
    "POST / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n",
    "BREW / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n",
    "nonsense nonsense nonsense nonsense\\r\\n\\r\\n",
    "GET /metrics HTTP/1.1\\r\\n" + "X: y\\r\\n" * 200 + "\\r\\n",
    "GET " + "/" * 70000 + " HTTP/1.1\\r\\n\\r\\n",
]
for request in requests:
    with socket.socket() as sock:
        sock.connect((host, int(port)))
        sock.sendall(request.encode("latin-1"))
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass
server.close()
print(sorted(set(sys.modules) - before))
"""
