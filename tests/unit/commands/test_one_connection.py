"""`tcptrace report FILE --connection` of the recording that ships, which was made without --follow: less is known, and said."""

from __future__ import annotations

import json

import pytest

from tests.unit.commands.test_report import DEMO, recorded, report, tcptrace


def test_what_a_close_tells_is_in_the_columns_and_what_it_does_not_has_a_reason() -> None:
    (close, *_) = report()["most_retransmitting_connections"]
    client = next(e for e in recorded() if e["kind"] == "close" and e["role"] == "client" and e["local_port"] in ports(close))
    done = tcptrace(
        "report", str(DEMO), "--connection", f"{client['local_address']}:{client['local_port']}", "--format", "json"
    )
    assert done.stderr == ""
    found = json.loads(done.stdout)
    rows = {row["name"]: row for row in found["directions"]}
    assert rows["unique bytes"]["a_to_b"] == client["sent_bytes"]
    assert rows["packets"]["a_to_b"] == client["sent_segments"]
    assert rows["initial sequence"]["b_to_a"] == client["peer_initial_sequence"]
    assert found["duration_seconds"] == client["duration_seconds"]
    assert rows["data packets"]["a_to_b"] is None
    assert "--follow" in rows["data packets"]["why_a_to_b"]
    for row in rows.values():
        for way in ("a_to_b", "b_to_a"):
            assert (row[way] is None) == (f"why_{way}" in row)


def ports(event: dict[str, object]) -> set[object]:
    return {event["local_port"], event["remote_port"]}


@pytest.mark.parametrize(
    ("what", "status", "says"),
    [
        ("web", 2, "is no connection"),
        ("10.0.0.1:99999", 2, "is no connection"),
        ("192.0.2.1:7", 1, "has no connection 192.0.2.1:7"),
        ("10.23.0.2:443", 1, "is the end of several connections"),
    ],
)
def test_what_is_no_single_connection_is_refused(what: str, status: int, says: str) -> None:
    done = tcptrace("report", str(DEMO), "--connection", what)
    assert (done.returncode, done.stdout) == (status, "")
    assert says in done.stderr
