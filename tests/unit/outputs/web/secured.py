"""A server with a web configuration, and clients that have, or lack, what it asks for; certificates are made once a session."""

from __future__ import annotations

import base64
import http.client
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from textwrap import dedent

import trustme

from tests.unit.outputs.conftest import model_of_traffic
from tracer.outputs.web.http import Server, serve
from tracer.outputs.web.listening import bind
from tracer.outputs.web.webconfig import read_access

HOST = "127.0.0.1"
ALICE = "$2b$04$KZEd5ZmTDETEdAoHvVpEbe8.rsKZEYEefyDEpu4028ceO8qatSZQS"
"""The password `secret`, at the lowest cost, which tests can afford."""

TLS = """
tls_server_config:
  cert_file: server.crt
  key_file: server.key
"""
REQUIRED = TLS + "  client_ca_file: ca.crt\n  client_auth_type: RequireAndVerifyClientCert\n"


@cache
def authority() -> trustme.CA:
    """Return who signed the server's certificate, and those of welcome clients."""
    return trustme.CA(organization_name="welcome")


@cache
def stranger() -> trustme.CA:
    """Return who signed the others."""
    return trustme.CA(organization_name="stranger")


def pem(certificate: trustme.LeafCert) -> str:
    """Return key and chain of a certificate."""
    return "".join(blob.bytes().decode() for blob in (certificate.private_key_pem, *certificate.cert_chain_pems))


def configuration(place: Path, text: str) -> Path:
    """Write a web configuration, and beside it server.crt, server.key and ca.crt; return its path."""
    server = server_certificate()
    server.private_key_pem.write_to_path(str(place / "server.key"))
    (place / "server.crt").write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))
    authority().cert_pem.write_to_path(str(place / "ca.crt"))
    path = place / "web.yml"
    path.write_text(dedent(text), encoding="utf-8")
    return path


@cache
def server_certificate() -> trustme.LeafCert:
    """Return the server's certificate."""
    return authority().issue_cert(HOST, "localhost")


@contextmanager
def secured(place: Path, text: str, *, patience: float = 10, connections: int = 64) -> Iterator[Server]:
    """Yield a server with that web configuration."""
    access = read_access(configuration(place, text))
    report = model_of_traffic().report()
    server = serve(bind(f"{HOST}:0"), lambda: report, lambda: True, access=access, patience=patience, connections=connections)
    try:
        yield server
    finally:
        server.close()


def client_context(certificate: trustme.LeafCert | None = None) -> ssl.SSLContext:
    """Return what a client needs that knows the server's authority, and may have a certificate itself."""
    context = ssl.create_default_context(cadata=authority().cert_pem.bytes().decode())
    if certificate:
        certificate.configure_cert(context)
    return context


def ask(
    address: str, path: str = "/metrics", method: str = "GET", *, context: ssl.SSLContext | None = None, user: str = ""
) -> tuple[int, bytes, http.client.HTTPMessage]:
    """Return status, body and head of an answer; user: NAME:PASSWORD."""
    headers = {"Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"} if user else {}
    with closing(connect(address, context)) as connection:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers


def connect(address: str, context: ssl.SSLContext | None) -> http.client.HTTPConnection:
    """Return a connection that is yet to be made; over TLS with a context."""
    host, _, port = address.rpartition(":")
    if context is None:
        return http.client.HTTPConnection(host, int(port), timeout=10)
    return http.client.HTTPSConnection(host, int(port), timeout=10, context=context)
