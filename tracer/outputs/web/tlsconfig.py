"""The section tls_server_config, in Go's words, as what Python's ssl makes of it.

Some of Go's settings have no counterpart there. They are refused: what cannot be kept must not be promised.
"""

from __future__ import annotations

import os
import ssl

from tracer.outputs.web.access import TlsSocket
from tracer.outputs.web.configsection import ConfigSection

KNOWN = frozenset(
    {
        *("cert", "key", "client_ca", "cert_file", "key_file", "client_ca_file", "client_auth_type", "client_allowed_sans"),
        *("min_version", "max_version", "cipher_suites", "prefer_server_cipher_suites", "curve_preferences"),
    }
)

VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}

REQUIRED = "RequireAndVerifyClientCert"
CLIENTS = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    REQUIRED: ssl.CERT_OPTIONAL,  # /healthz is for everybody: what else is asked for is refused without, see access.py
}
UNVERIFIED = {"RequestClientCert", "RequireAnyClientCert", "RequireClientCert"}

CIPHERS = {
    f"TLS_ECDHE_{key}_WITH_{go}": f"ECDHE-{key}-{openssl}"
    for key in ("ECDSA", "RSA")
    for go, openssl in {
        "AES_128_CBC_SHA": "AES128-SHA",
        "AES_256_CBC_SHA": "AES256-SHA",
        "AES_128_GCM_SHA256": "AES128-GCM-SHA256",
        "AES_256_GCM_SHA384": "AES256-GCM-SHA384",
        "CHACHA20_POLY1305_SHA256": "CHACHA20-POLY1305",
    }.items()
}
CIPHERS_13 = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}

CURVES = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}


def tls_context(settings: ConfigSection) -> ssl.SSLContext | None:
    """Return what the section says, None where it is empty; raises TcptraceError naming the setting that will not do."""
    if not settings.values:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslsocket_class = TlsSocket
    _limit_versions(context, settings)
    _choose_ciphers(context, settings)
    _choose_curve(context, settings)
    _show_certificate(context, settings)
    _ask_for_certificate(context, settings)
    return context


def _limit_versions(context: ssl.SSLContext, settings: ConfigSection) -> None:
    low, high = settings.text("min_version") or "TLS12", settings.text("max_version") or "TLS13"
    for name, version in (("min_version", low), ("max_version", high)):
        if version not in VERSIONS:
            raise settings.fault(name, f"is {version}, which is not available here", "give TLS12 or TLS13")
    if VERSIONS[low] > VERSIONS[high]:
        raise settings.fault("min_version", f"is {low}, and max_version {high}", "leave one of them out")
    context.minimum_version, context.maximum_version = VERSIONS[low], VERSIONS[high]


def _choose_ciphers(context: ssl.SSLContext, settings: ConfigSection) -> None:
    name = "cipher_suites"
    wanted = settings.texts(name)
    for suite in wanted:
        if suite in CIPHERS_13:
            raise settings.fault(name, f"has {suite}: those of TLS 1.3 are always on", "leave it out")
        if suite not in CIPHERS:
            raise settings.fault(name, f"has {suite}, which is not known", f"known are {', '.join(CIPHERS)}")
    if wanted:
        context.set_ciphers(":".join(CIPHERS[suite] for suite in wanted))
    if settings.flag("prefer_server_cipher_suites", default=True):
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE


def _choose_curve(context: ssl.SSLContext, settings: ConfigSection) -> None:
    name = "curve_preferences"
    wanted = settings.texts(name)
    for curve in wanted:
        if curve not in CURVES:
            raise settings.fault(name, f"has {curve}, which is not known", f"known are {', '.join(CURVES)}")
    if len(wanted) > 1:
        raise settings.fault(
            name, "has several curves, and Python's ssl takes one or leaves all to OpenSSL", "give one, or none"
        )
    try:
        for curve in wanted:
            context.set_ecdh_curve(CURVES[curve])
    except ssl.SSLError as error:
        raise settings.fault(
            name, f"is {wanted[0]}, which this Python's ssl cannot choose", "give CurveP256, or none"
        ) from error


def _pem(settings: ConfigSection, name: str) -> str | None:
    """Return the text of cert, key or client_ca: written here, or in the file that is named here."""
    inline, read = settings.text(name), settings.contents(f"{name}_file")
    if inline and read:
        raise settings.fault(name, f"is there, and {name}_file too", "leave one of them out")
    return inline or read


def _show_certificate(context: ssl.SSLContext, settings: ConfigSection) -> None:
    texts = [_pem(settings, name) for name in ("cert", "key")]
    for name, text in zip(("cert", "key"), texts, strict=True):
        if text is None:
            raise settings.fault(f"{name}_file", "is missing", f"without TLS, leave out {settings.name.rstrip('.')}")
    try:
        _load(context, "\n".join(filter(None, texts)))
    except (ssl.SSLError, ValueError) as error:
        raise settings.fault(
            "cert_file", f"and key_file cannot be used: {_reason(error)}", "both are PEM, the key is not encrypted"
        ) from error


def _load(context: ssl.SSLContext, pem: str) -> None:
    """Load certificate and key; Python's ssl takes them from files only, and this one is in memory."""
    descriptor = os.memfd_create("certificate")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(pem)
        file.flush()
        # With a password, even a wrong one, an encrypted key is an error; without one, OpenSSL would ask on the terminal.
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password="")


def _ask_for_certificate(context: ssl.SSLContext, settings: ConfigSection) -> None:
    name = "client_auth_type"
    kind = settings.text(name) or "NoClientCert"
    if kind in UNVERIFIED:
        raise settings.fault(
            name, f"is {kind}, and Python's ssl verifies every certificate that it asks for", f"give {_known_kinds()}"
        )
    if kind not in CLIENTS:
        raise settings.fault(name, f"is {kind}, which is not known", f"give {_known_kinds()}")
    if settings.values.get("client_allowed_sans") is not None and not settings.texts("client_allowed_sans"):
        raise settings.fault("client_allowed_sans", "is empty, so that nobody could connect", "name somebody, or leave it out")
    if settings.texts("client_allowed_sans") and kind != REQUIRED:
        raise settings.fault("client_allowed_sans", f"needs RequireAndVerifyClientCert, and {name} is {kind}")
    authority = _pem(settings, "client_ca")
    if (authority is None) != (kind == "NoClientCert"):
        lacks = "is missing" if authority is None else "is of no use"
        raise settings.fault("client_ca_file", f"{lacks} with {name} {kind}")
    if authority:
        context.verify_mode = CLIENTS[kind]
        _trust(context, settings, authority)


def _trust(context: ssl.SSLContext, settings: ConfigSection, authority: str) -> None:
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # as in Go, an authority need not be one that signed itself
    try:
        context.load_verify_locations(cadata=authority)
    except (ssl.SSLError, ValueError) as error:
        raise settings.fault(
            "client_ca_file", f"cannot be used: {_reason(error)}", "it is one certificate or several, in PEM"
        ) from error


def _known_kinds() -> str:
    return ", ".join(CLIENTS)


def _reason(error: Exception) -> str:
    return (error.reason if isinstance(error, ssl.SSLError) and error.reason else str(error)).lower().replace("_", " ")
