from __future__ import annotations

import http.client
import socket
import ssl
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import trustme

from tests.unit.outputs.web.secured import (
    ALICE,
    REQUIRED,
    TLS,
    ask,
    authority,
    client_context,
    configuration,
    connect,
    secured,
    stranger,
)
from tests.unit.outputs.web.servers import plain
from tracer.outputs.web.http import Server

IF_GIVEN = TLS + "  client_ca_file: ca.crt\n  client_auth_type: VerifyClientCertIfGiven\n"
USERS = f"""
basic_auth_users:
  alice: {ALICE}
  bob: {ALICE.replace("$2b$", "$2y$")}
"""


def certificate(ca: trustme.CA, name: str = "prometheus.example") -> trustme.LeafCert:
    return ca.issue_cert(name)


def is_let_in(address: str, context: ssl.SSLContext) -> bool:
    """With TLS 1.3 a client learns only when it reads that it was not."""
    try:
        return ask(address, context=context)[0] == 200
    except (ssl.SSLError, ConnectionError, http.client.RemoteDisconnected):
        return False


def test_metrics_are_served_over_tls(tmp_path: Path) -> None:
    with secured(tmp_path, TLS) as server:
        assert server.url == f"https://{server.address}/"
        status, body, _ = ask(server.address, context=client_context())
    assert status == 200
    assert b"tcptrace_handshakes_total" in body


def test_certificate_and_key_can_stand_in_the_file(tmp_path: Path) -> None:
    configuration(tmp_path, "")
    text = "tls_server_config:\n"
    for name in ("crt", "key"):
        indented = (tmp_path / f"server.{name}").read_text(encoding="utf-8").replace("\n", "\n    ")
        text += f"  {'cert' if name == 'crt' else 'key'}: |\n    {indented}\n"
    with secured(tmp_path, text) as server:
        assert ask(server.address, context=client_context())[0] == 200


def test_a_connection_over_tls_serves_many_requests(tmp_path: Path) -> None:
    with secured(tmp_path, TLS) as server, closing(connect(server.address, client_context())) as connection:
        connection.connect()
        local = connection.sock.getsockname()
        for _ in range(23):
            connection.request("GET", "/metrics")
            assert b"tcptrace_handshakes_total" in connection.getresponse().read()
            assert connection.sock.getsockname() == local


WHO_IS_LET_IN = [
    (TLS, (True, True, True)),
    (TLS + "  client_auth_type: NoClientCert\n", (True, True, True)),
    (IF_GIVEN, (True, False, True)),
    (REQUIRED, (False, False, True)),
]


@pytest.mark.parametrize("version", ["TLS12", "TLS13"])
@pytest.mark.parametrize(("text", "let_in"), WHO_IS_LET_IN)
def test_a_client_certificate_is_asked_for_and_checked_as_the_type_says(
    tmp_path: Path, text: str, let_in: tuple[bool, ...], version: str
) -> None:
    contexts = [client_context(), client_context(certificate(stranger())), client_context(certificate(authority()))]
    with secured(tmp_path, f"{text}  max_version: {version}\n") as server:
        assert tuple(is_let_in(server.address, context) for context in contexts) == let_in


@pytest.mark.parametrize("name", ["one.example", "192.0.2.7", "2001:db8::7", "scraper@example.org"])
def test_a_client_certificate_must_have_one_of_the_allowed_names(tmp_path: Path, name: str) -> None:
    text = f"{REQUIRED}  client_allowed_sans: [unused.example, '{name}']\n"
    with secured(tmp_path, text) as server:
        assert is_let_in(server.address, client_context(certificate(authority(), name)))
        assert not is_let_in(server.address, client_context(certificate(authority(), "two.example")))


def test_a_version_below_the_lowest_one_is_refused(tmp_path: Path) -> None:
    context = client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with secured(tmp_path, TLS + "  min_version: TLS13\n") as server:
        assert not is_let_in(server.address, context)
        assert is_let_in(server.address, client_context())


def test_the_chosen_cipher_suites_are_the_only_ones_before_tls_13_and_in_the_servers_order(tmp_path: Path) -> None:
    suites = ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]
    suites += ["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]
    text = f"{TLS}  max_version: TLS12\n  cipher_suites: [{', '.join(suites)}]\n"
    context = client_context()
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES256-SHA384")
    with secured(tmp_path, text) as server:
        assert suite_of(server, context) == "ECDHE-ECDSA-AES256-GCM-SHA384"
        context.set_ciphers("ECDHE-ECDSA-AES256-SHA384")
        assert not is_let_in(server.address, context)
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384")
    with secured(tmp_path, text + "  prefer_server_cipher_suites: false\n") as server:
        assert suite_of(server, context) == "ECDHE-ECDSA-AES128-GCM-SHA256"


def suite_of(server: Server, context: ssl.SSLContext) -> str:
    with plain(server) as sock, context.wrap_socket(sock, server_hostname="localhost") as wrapped:
        cipher = wrapped.cipher()
        assert cipher is not None
        return cipher[0]


def test_a_curve_can_be_chosen(tmp_path: Path) -> None:
    context = client_context()
    context.set_ecdh_curve("secp384r1")
    with secured(tmp_path, TLS + "  curve_preferences: [CurveP384]\n") as server:
        assert is_let_in(server.address, context)
    with secured(tmp_path, TLS + "  curve_preferences: [CurveP256]\n") as server:
        assert not is_let_in(server.address, context)


@pytest.mark.parametrize("path", ["/metrics", "/", "/report", "/rules", "/nothing", "/healthz/"])
@pytest.mark.parametrize("user", ["", "alice:wrong", "alice:", "eve:secret", ":secret", "alice"])
def test_nobody_gets_anything_without_the_right_name_and_password(tmp_path: Path, path: str, user: str) -> None:
    with secured(tmp_path, USERS) as server:
        status, body, headers = ask(server.address, path, user=user)
    assert (status, body) == (401, b"unauthorized\n")
    assert headers["WWW-Authenticate"].startswith("Basic realm=")


@pytest.mark.parametrize("user", ["", "alice:wrong", "alice:secret"])
def test_health_is_told_to_everybody(tmp_path: Path, user: str) -> None:
    with secured(tmp_path, USERS) as server:
        assert ask(server.address, "/healthz", user=user)[:2] == (200, b"ok\n")


@pytest.mark.parametrize("version", ["TLS12", "TLS13"])
def test_health_is_told_without_a_client_certificate_and_nothing_else_is(tmp_path: Path, version: str) -> None:
    text = f"{REQUIRED}  client_allowed_sans: [prometheus.example]\n  max_version: {version}\n"
    with secured(tmp_path, text + USERS) as server:
        assert ask(server.address, "/healthz", context=client_context())[:2] == (200, b"ok\n")
        for path in ("/metrics", "/", "/report", "/rules", "/nothing"):
            assert ask(server.address, path, context=client_context(), user="alice:secret")[0] == 403


def test_a_method_that_is_not_allowed_is_unauthorized_first(tmp_path: Path) -> None:
    with secured(tmp_path, USERS) as server:
        assert ask(server.address, method="POST")[0] == 401
        assert ask(server.address, method="POST", user="alice:secret")[0] == 405


@pytest.mark.parametrize("header", ["Bearer YWxpY2U6c2VjcmV0", "Basic", "Basic %%%", "Basic YWxpY2U6c2VjcmV0=x", "Basic \xe9"])
def test_an_authorization_that_is_not_basic_is_none(tmp_path: Path, header: str) -> None:
    with secured(tmp_path, USERS) as server, closing(connect(server.address, None)) as connection:
        connection.request("GET", "/metrics", headers={"Authorization": header})
        assert connection.getresponse().status == 401


@pytest.mark.parametrize("user", ["alice", "bob"])
def test_the_right_password_opens_every_page(tmp_path: Path, user: str) -> None:
    with secured(tmp_path, USERS) as server:
        assert [ask(server.address, path, user=f"{user}:secret")[0] for path in ("/metrics", "/healthz", "/", "/no")] == [
            200
        ] * 3 + [404]


def test_certificates_and_passwords_are_both_asked_for(tmp_path: Path) -> None:
    context = client_context(certificate(authority()))
    with secured(tmp_path, REQUIRED + USERS) as server:
        assert ask(server.address, context=context)[0] == 401
        assert ask(server.address, context=context, user="alice:secret")[0] == 200
        assert not is_let_in(server.address, client_context())


def test_headers_are_put_on_every_answer_instead_of_our_own(tmp_path: Path) -> None:
    text = """
    http_server_config:
      http2: false
      headers:
        Content-Security-Policy: "default-src 'self'"
        X-Frame-Options: deny
        X-XSS-Protection: ""
    """
    with secured(tmp_path, text) as server:
        for path, method in (("/", "GET"), ("/nothing", "GET"), ("/metrics", "POST"), ("/", "BREW")):
            headers = ask(server.address, path, method)[2]
            assert headers.get_all("Content-Security-Policy") == ["default-src 'self'"]
            assert headers.get_all("X-Frame-Options") == ["deny"]
            assert "X-XSS-Protection" not in headers


def test_an_empty_file_asks_for_nothing(tmp_path: Path) -> None:
    with secured(tmp_path, "") as server:
        assert server.url.startswith("http://")
        assert ask(server.address)[0] == 200


def test_nothing_is_imported_while_clients_are_let_in_or_not(tmp_path: Path) -> None:
    text = REQUIRED + "  client_allowed_sans: [prometheus.example]\n" + USERS
    command = [sys.executable, "-c", IMPORTS, str(configuration(tmp_path, text)), *sys.path]
    context = client_context(certificate(authority()))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert [ask(address, context=context, user=user)[0] for user in ("", "eve:x", "alice:secret")] == [401, 401, 200]
        assert not is_let_in(address, client_context())
        assert not is_let_in(address, client_context(certificate(authority(), "two.example")))
        assert ask(address)[0] == 400
        assert process.communicate(timeout=30) == ("[]\n", "")


IMPORTS = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from tests.unit.outputs.conftest import model_of_traffic
from tracer.outputs.web.http import serve
from tracer.outputs.web.listening import bind
from tracer.outputs.web.webconfig import read_access
report = model_of_traffic().report()
server = serve(bind("127.0.0.1:0"), lambda: report, lambda: True, access=read_access(Path(sys.argv[1])))
before = set(sys.modules)
print(server.address, flush=True)
sys.stdin.read()
server.close()
print(sorted(set(sys.modules) - before))
"""


def test_a_socket_that_is_gone_before_its_handshake_is_no_trouble(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with secured(tmp_path, TLS) as server:
        for _ in range(23):
            with plain(server) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        assert ask(server.address, context=client_context())[0] == 200
    assert capfd.readouterr().err == ""
