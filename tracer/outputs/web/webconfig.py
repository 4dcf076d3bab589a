"""The web configuration file that Prometheus's exporters share (exporter-toolkit): TLS, headers and users.

Read once, before privileges are dropped, since only root can read a private key: restart after renewing the certificate; the
toolkit reads the file at every connection. Imported only when there is such a file: YAML and bcrypt take their megabytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tracer.outputs.web.access import Access
from tracer.outputs.web.basicauth import Users, is_hash
from tracer.outputs.web.configsection import ConfigSection, read
from tracer.outputs.web.tlsconfig import KNOWN as TLS_SETTINGS, REQUIRED, tls_context

SECTIONS = frozenset({"tls_server_config", "http_server_config", "basic_auth_users"})

HEADERS: Mapping[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
"""Those that may be set, and the values that each may have; none: any."""


def read_access(path: Path) -> Access:
    """Return what a file says, and the files that it names; raises TcptraceError for what cannot be done as written."""
    return access_of(read(path, SECTIONS))


def access_of(settings: ConfigSection) -> Access:
    """Return what a file says, as its sections; raises TcptraceError as read_access()."""
    tls = settings.section("tls_server_config", TLS_SETTINGS)
    return Access(
        tls=tls_context(tls),
        certificate=tls.text("client_auth_type") == REQUIRED,
        names=frozenset(tls.texts("client_allowed_sans")),
        headers=_headers(settings.section("http_server_config", frozenset({"http2", "headers"}))),
        passwords=_users(settings.section("basic_auth_users")),
    )


def _headers(http: ConfigSection) -> dict[str, str]:
    if http.flag("http2", default=False):
        raise http.fault("http2", "is true, and tcptrace speaks HTTP/1.1 only", "set it to false, or leave it out")
    headers = http.section("headers", frozenset(HEADERS))
    found = {name: text for name in headers.values if (text := headers.text(name))}
    for name, text in found.items():
        if HEADERS[name] and text not in HEADERS[name]:
            raise headers.fault(name, f"is {text}", f"give {' or '.join(HEADERS[name])}")
        if not (text.isascii() and text.isprintable()):
            raise headers.fault(name, "is not one line of ASCII")
    return found


def _users(users: ConfigSection) -> Users | None:
    for name in users.values:
        if not is_hash(users.text(name) or ""):
            raise users.fault(name, "is not a bcrypt hash", "make one with: htpasswd -nBC 10 \"\" | tr -d ':\\n'")
    return Users({name: str(value).encode() for name, value in users.values.items()}) if users.values else None
