from __future__ import annotations

import pytest

from tracer.kernel.health import confined_by


@pytest.mark.parametrize(
    ("version", "status", "what"),
    [
        (
            0,
            "warning",
            "this kernel has no Landlock, or it is not switched on (lsm=): the server is confined by its user alone",
        ),
        (
            2,
            "ok",
            "by Landlock 2: the server cannot start programs or write files; it can open connections (Linux 6.7 denies them)",
        ),
        (7, "ok", "by Landlock 7: the server cannot start programs or write files, nor open connections"),
    ],
)
def test_doctor_says_what_confines_the_serving_process(version: int, status: str, what: str) -> None:
    found = confined_by(version)
    assert (found.name, found.status, found.detail) == ("confinement", status, what)
