from __future__ import annotations

import base64
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http import HTTPStatus
from pathlib import Path

import bcrypt
import pytest

from tests.unit.outputs.web.secured import ALICE, ask, connect, secured
from tracer.outputs.web import basicauth
from tracer.outputs.web.basicauth import Users, is_hash

SLOW = 9
"""A cost at which a comparison takes some 30 ms."""


def basic(user: str) -> str:
    return f"Basic {base64.b64encode(user.encode()).decode()}"


def hashed(password: str, cost: int = 4) -> bytes:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost))


def seconds(users: Users, user: str) -> float:
    start = time.perf_counter()
    users.refusal(basic(user))
    return time.perf_counter() - start


@pytest.mark.parametrize("form", ["$2a$", "$2b$", "$2y$"])
def test_every_form_of_bcrypt_hash_is_known(form: str) -> None:
    assert is_hash(ALICE.replace("$2b$", form))
    users = Users({"alice": ALICE.replace("$2b$", form).encode()})
    assert users.refusal(basic("alice:secret")) is None


@pytest.mark.parametrize(
    "text", ["", "secret", "$2b$04$", "$2b$03$" + ALICE[7:], "$2b$32$" + ALICE[7:], ALICE + "x", "$1$" + ALICE]
)
def test_what_is_no_bcrypt_hash_is_none(text: str) -> None:
    assert not is_hash(text)


def test_a_costly_hash_is_recognized_without_the_cost() -> None:
    start = time.perf_counter()
    assert is_hash("$2b$31$" + ALICE[7:])
    assert time.perf_counter() - start < 600  # a comparison takes days


def test_a_password_may_have_a_colon_and_any_letter() -> None:
    users = Users({"jürgen": hashed("a:b:ü")})
    assert users.refusal(basic("jürgen:a:b:ü")) is None
    assert users.refusal(basic("jürgen:a:b")) is HTTPStatus.UNAUTHORIZED


def test_a_password_longer_than_bcrypt_looks_is_cut_as_elsewhere() -> None:
    users = Users({"alice": hashed("x" * 72)})
    assert users.refusal(basic("alice:" + "x" * 100)) is None


def test_what_was_right_once_is_not_compared_again() -> None:
    users = Users({"alice": hashed("secret", SLOW)})
    first = seconds(users, "alice:secret")
    assert users.refusal(basic("alice:secret")) is None
    assert min(seconds(users, "alice:secret") for _ in range(9)) < first / 2


def test_what_is_remembered_is_bounded() -> None:
    users = Users({"alice": hashed("x" * 72)})
    for i in range(basicauth.REMEMBERED + 23):
        assert users.refusal(basic(f"alice:{'x' * 72}{i}")) is None
    assert len(users._right) <= basicauth.REMEMBERED


def test_a_user_who_does_not_exist_takes_as_long_as_a_wrong_password() -> None:
    users = Users({"alice": hashed("secret", SLOW)})
    wrong = min(seconds(users, "alice:wrong") for _ in range(5))
    unknown = min(seconds(users, "eve:secret") for _ in range(5))
    assert wrong / 3 < unknown < wrong * 3


def test_one_who_does_not_get_a_turn_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(basicauth, "WAIT_SECONDS", 0.01)
    users = Users({"alice": hashed("secret", SLOW)})
    start = threading.Barrier(4)

    def guess(i: int) -> HTTPStatus | None:
        start.wait(10)
        return users.refusal(basic(f"alice:{i}"))

    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(guess, range(4)))
    assert set(statuses) == {HTTPStatus.UNAUTHORIZED, HTTPStatus.SERVICE_UNAVAILABLE}


def test_a_flood_of_guesses_holds_up_nobody_who_was_let_in_before(tmp_path: Path) -> None:
    stop = threading.Event()

    def guess(address: str, i: int) -> None:
        while not stop.is_set():
            ask(address, user=f"alice:{i}")

    text = f"basic_auth_users: {{alice: {hashed('secret', SLOW).decode()}}}"
    with (
        secured(tmp_path, text) as server,
        ThreadPoolExecutor(16) as pool,
        closing(connect(server.address, None)) as connection,
    ):
        headers = {"Authorization": basic("alice:secret")}
        connection.request("GET", "/metrics", headers=headers)
        assert b"handshakes_total" in connection.getresponse().read()
        guesses = [pool.submit(guess, server.address, i) for i in range(16)]
        start = time.monotonic()
        for _ in range(10):
            connection.request("GET", "/metrics", headers=headers)
            assert b"handshakes_total" in connection.getresponse().read()
        took = time.monotonic() - start
        stop.set()
        for each in guesses:
            each.result()
    assert took < 60
