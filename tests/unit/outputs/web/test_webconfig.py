from __future__ import annotations

import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from tests.unit.outputs.web.secured import ALICE, configuration, server_certificate, stranger
from tracer.errors import TcptraceError
from tracer.outputs.web.webconfig import read_access

TLS = "tls_server_config: {cert_file: server.crt, key_file: server.key, "
CLIENTS = "client_ca_file: ca.crt, client_auth_type: RequireAndVerifyClientCert, "

REFUSED = [
    # no YAML
    ("a: [1", r"line 1, column 6, is not YAML: expected ',' or '\]'", ""),
    ("tls_server_config:\n  cert_file: a\n cert: b", "line 3, column 2, is not YAML", ""),
    ("basic_auth_users:\n  bob: x\n  bob: y", "line 3, column 3, is not YAML: bob is there twice", ""),
    ("a: \x01", "is not YAML", ""),
    ("a: !!python/object:os.system {}", "line 1, column 4, is not YAML: could not determine a constructor", ""),
    ("- a", "is not a section", "tls_server_config"),
    ("just words", "is not a section", "tls_server_config"),
    # names that are not known, values of another kind
    ("tls_config: {}", "tls_config is not known here", "basic_auth_users, http_server_config, tls_server_config"),
    ("rate_limit: {burst: 20}", "rate_limit is not known here", ""),
    ("tls_server_config: {certfile: a}", r"tls_server_config\.certfile is not known here", "cert_file"),
    ("tls_server_config: [a]", "tls_server_config is not a section", ""),
    ("tls_server_config: {cert_file: 7}", r"tls_server_config\.cert_file is not a text", "in quotes"),
    (TLS + "cipher_suites: TLS_A}", r"cipher_suites is not a list", ""),
    (TLS + "cipher_suites: [7]}", r"cipher_suites is not a list of texts", ""),
    (TLS + "prefer_server_cipher_suites: 'no'}", "prefer_server_cipher_suites is not true or false", ""),
    ("basic_auth_users: {7: x}", r"basic_auth_users\.7 is a name that is not a text", "in quotes"),
    # certificate and key
    ("tls_server_config: {min_version: TLS13}", "cert_file is missing", "leave out tls_server_config"),
    ("tls_server_config: {cert_file: server.crt}", "key_file is missing", ""),
    ("tls_server_config: {cert_file: none.crt, key_file: server.key}", r"cert_file cannot read .*/none\.crt: No such file", ""),
    ("tls_server_config: {cert_file: server.crt, cert: x, key_file: server.key}", "cert is there, and cert_file too", ""),
    ("tls_server_config: {cert_file: ca.crt, key_file: server.key}", "cannot be used: key values mismatch", "PEM"),
    ("tls_server_config: {cert_file: web.yml, key_file: server.key}", "cannot be used", "PEM"),
    ("tls_server_config: {cert_file: server.crt, key_file: encrypted.key}", "cannot be used", "not encrypted"),
    ("tls_server_config: {cert_file: server.crt, key_file: binary.key}", "key_file cannot read .*: not a text", ""),
    # clients
    (TLS + "client_auth_type: Sometimes}", "client_auth_type is Sometimes, which is not known", "RequireAndVerifyClientCert"),
    (TLS + "client_auth_type: RequestClientCert}", "client_auth_type is RequestClientCert, and Python's ssl verifies", ""),
    (TLS + "client_auth_type: RequireAnyClientCert}", "client_auth_type is RequireAnyClientCert, and Python", ""),
    (TLS + "client_auth_type: RequireAndVerifyClientCert}", "client_ca_file is missing", ""),
    (TLS + "client_auth_type: VerifyClientCertIfGiven}", "client_ca_file is missing", ""),
    (TLS + "client_ca_file: ca.crt}", "client_ca_file is of no use with client_auth_type NoClientCert", ""),
    (TLS + "client_ca_file: web.yml, client_auth_type: VerifyClientCertIfGiven}", "client_ca_file cannot be used", "PEM"),
    (TLS + CLIENTS + "client_allowed_sans: []}", "client_allowed_sans is empty", ""),
    (TLS + "client_allowed_sans: [a]}", "client_allowed_sans needs RequireAndVerifyClientCert", ""),
    # versions, ciphers, curves
    (TLS + "min_version: TLS10}", "min_version is TLS10", "TLS12 or TLS13"),
    (TLS + "max_version: SSL3}", "max_version is SSL3", ""),
    (TLS + "min_version: TLS13, max_version: TLS12}", "min_version is TLS13, and max_version TLS12", ""),
    (TLS + "cipher_suites: [TLS_AES_128_GCM_SHA256]}", "cipher_suites has TLS_AES_128_GCM_SHA256: those of TLS 1.3", ""),
    (TLS + "cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]}", "cipher_suites has TLS_RSA_WITH_RC4_128_SHA, which is not known", ""),
    (TLS + "curve_preferences: [P256]}", "curve_preferences has P256, which is not known", "CurveP256"),
    (TLS + "curve_preferences: [CurveP256, CurveP384]}", "curve_preferences has several curves", ""),
    # HTTP and users
    ("http_server_config: {http2: true}", r"http_server_config\.http2 is true", "false"),
    ("http_server_config: {headers: {Server: x}}", r"http_server_config\.headers\.Server is not known", "X-Frame-Options"),
    ("http_server_config: {headers: {X-Frame-Options: maybe}}", "X-Frame-Options is maybe", "deny or sameorigin"),
    ('http_server_config: {headers: {X-XSS-Protection: "1\\r\\nX: y"}}', "X-XSS-Protection is not one line", ""),
    ("basic_auth_users: {alice: secret}", r"basic_auth_users\.alice is not a bcrypt hash", "htpasswd"),
    (f"basic_auth_users: {{alice: {ALICE[:-1]}}}", r"basic_auth_users\.alice is not a bcrypt hash", "htpasswd"),
    ("basic_auth_users: {alice: }", r"basic_auth_users\.alice is not a bcrypt hash", "htpasswd"),
]


@pytest.mark.parametrize(("text", "what", "hint"), REFUSED)
def test_what_cannot_be_done_as_it_is_written_is_refused_by_name(tmp_path: Path, text: str, what: str, hint: str) -> None:
    path = configuration(tmp_path, text)
    write_unusable_keys(tmp_path)
    with pytest.raises(TcptraceError) as error:
        read_access(path)
    assert re.search(what, error.value.what)
    assert str(path) in error.value.what
    assert hint in (error.value.hint or "")
    assert "secret" not in str(error.value).replace("<secret>", "")


def write_unusable_keys(place: Path) -> None:
    key = serialization.load_pem_private_key(server_certificate().private_key_pem.bytes(), None)
    protection = serialization.BestAvailableEncryption(b"password")
    forms = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (place / "encrypted.key").write_bytes(key.private_bytes(*forms, protection))
    (place / "binary.key").write_bytes(b"\xff\xfe\x00")


@pytest.mark.parametrize(
    "value", ["!!timestamp x", "!!int x", "!!bool x", "!!float []", "!!binary é", "!!omap x", "!!set [a]", "2001-99-99"]
)
def test_a_value_that_is_not_what_its_tag_says_is_a_sentence(tmp_path: Path, value: str) -> None:
    with pytest.raises(TcptraceError, match=r"is not (YAML: |a text)"):
        read_access(configuration(tmp_path, f"tls_server_config: {{cert_file: {value}, key_file: b}}"))


@pytest.mark.parametrize("text", ["[" * 20_000, "{a: " * 20_000, "- " * 20_000 + "a"])
def test_twenty_thousand_brackets_are_too_many(tmp_path: Path, text: str) -> None:
    with pytest.raises(TcptraceError, match="is not understood: too many lists or sections, one in another"):
        read_access(configuration(tmp_path, text))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(TcptraceError, match=r"cannot read .*/none\.yml: No such file or directory"):
        read_access(tmp_path / "none.yml")


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "tls_server_config:\nbasic_auth_users:\nhttp_server_config: {headers: }\n"]
)
def test_empty_sections_ask_for_nothing(tmp_path: Path, text: str) -> None:
    access = read_access(configuration(tmp_path, text))
    assert (access.tls, access.passwords, access.headers, access.scheme) == (None, None, {}, "http")


def test_several_authorities_may_stand_in_one_file(tmp_path: Path) -> None:
    path = configuration(tmp_path, TLS + CLIENTS + "}")
    with (tmp_path / "ca.crt").open("ab") as file:
        file.write(stranger().cert_pem.bytes())
    tls = read_access(path).tls
    assert tls is not None
    assert len(tls.get_ca_certs()) == 2


def test_all_of_it_together_is_understood(tmp_path: Path) -> None:
    suites = [
        f"TLS_ECDHE_{key}_WITH_AES_{size}_GCM_SHA{size + 128 if size == 128 else 384}"
        for key in ("RSA", "ECDSA")
        for size in (128, 256)
    ]
    rest = f"min_version: TLS12, max_version: TLS13, cipher_suites: [{', '.join(suites)}], curve_preferences: [CurveP521]"
    text = f"""
    {TLS}{CLIENTS}client_allowed_sans: [a, b], {rest}, prefer_server_cipher_suites: true}}
    http_server_config: {{http2: false, headers: {{X-Content-Type-Options: nosniff, Strict-Transport-Security: max-age=1}}}}
    basic_auth_users: {{alice: {ALICE}}}
    """
    access = read_access(configuration(tmp_path, text))
    assert access.names == {"a", "b"}
    assert access.headers == {"X-Content-Type-Options": "nosniff", "Strict-Transport-Security": "max-age=1"}
    assert access.scheme == "https"
    assert access.passwords is not None
