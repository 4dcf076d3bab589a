"""Passwords hashed with bcrypt, asked for with HTTP's basic authentication.

A comparison is slow on purpose, and a scraper asks every few seconds: what was right once is remembered, as a keyed hash. What
was wrong is not, or a flood of guesses could push out the others.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import threading
from collections.abc import Mapping
from http import HTTPStatus

import bcrypt

LONGEST = 72
"""Bytes of a password that bcrypt looks at; the library refuses longer ones, Prometheus's exporters cut them."""

REMEMBERED = 100
"""Right answers: as many as there are users, or more where passwords are longer than bcrypt looks."""

HASH = re.compile(r"\$2[abxy]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}", re.ASCII)

WAIT_SECONDS = 5.0
"""For one's turn; below Prometheus's scrape timeout, so that the scraper learns why."""


class Users:
    """Knows users by their bcrypt hashes."""

    def __init__(self, hashes: Mapping[str, bytes]) -> None:
        self._hashes = dict(hashes)
        # Compared with when the user is unknown, so that the time taken does not tell. All hashes should cost the same.
        self._decoy = max(self._hashes.values(), key=lambda hashed: int(hashed.split(b"$")[2]))
        self._secret = os.urandom(32)
        self._right: set[bytes] = set()
        # One comparison at a time: guesses, however many, must leave processors to those who trace and scrape.
        self._turn = threading.Semaphore(1)

    def refusal(self, authorization: str) -> HTTPStatus | None:
        """Return None when an Authorization header lets its sender in, else the status that tells why not."""
        credentials = _credentials(authorization)
        if credentials is None:
            return HTTPStatus.UNAUTHORIZED
        fingerprint = hashlib.blake2b(credentials, key=self._secret).digest()
        if fingerprint in self._right:
            return None
        if not self._turn.acquire(timeout=WAIT_SECONDS):
            return HTTPStatus.SERVICE_UNAVAILABLE
        try:
            right = self._compare(credentials)
        finally:
            self._turn.release()
        if right:
            self._remember(fingerprint)
        return None if right else HTTPStatus.UNAUTHORIZED

    def _compare(self, credentials: bytes) -> bool:
        name, _, password = credentials.partition(b":")
        known = self._hashes.get(name.decode(errors="replace"))
        return bcrypt.checkpw(password[:LONGEST], known or self._decoy) and known is not None

    def _remember(self, fingerprint: bytes) -> None:
        if len(self._right) >= REMEMBERED:
            self._right.clear()
        self._right.add(fingerprint)


def is_hash(text: str) -> bool:
    """Say whether a text is a bcrypt hash."""
    if not HASH.fullmatch(text):
        return False
    try:
        bcrypt.checkpw(b"", f"$2b$04${text[7:]}".encode())  # the cheapest cost: whether its salt is one is all that is asked
    except ValueError:
        return False
    return True


def _credentials(authorization: str) -> bytes | None:
    """Return `user:password`, None where there is none."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
