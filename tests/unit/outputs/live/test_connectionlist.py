"""The connections of a service on the live view, and the ladder of one."""

from __future__ import annotations

import pytest

from tests.unit.outputs.live.screens import of_both_ends, of_connections, of_nothing, texts
from tracer.outputs.live.connectionlist import connections_lines, connections_of, ladder

WEB = ("client", "443")


def test_open_connections_come_first_then_those_that_have_ended_the_latest_first() -> None:
    found = connections_of(of_connections(), WEB)
    assert [(one.cells[0], one.cells[1], one.open) for one in found] == [
        ("192.0.2.1 50002", "open", True),
        ("192.0.2.1 50003", "failed: refused", False),
        ("192.0.2.1 50001", "closed: normal", False),
    ]


def test_another_service_has_none() -> None:
    assert connections_of(of_connections(), ("server", "443")) == []
    assert texts(connections_lines(of_nothing(), WEB, None, 80, 20)) == [" no connection of this service is known"]


def test_the_list_is_read_and_the_chosen_one_is_always_there() -> None:
    now = of_connections()
    last = connections_of(now, WEB)[-1].key
    assert texts(connections_lines(now, WEB, last, 80, 20)) == [
        "  peer                                 sent  received     rtt",
        "  192.0.2.1 50002  open                   -         -       -  -",
        "  192.0.2.1 50003  failed: refused        -         -       -  -",
        "> 192.0.2.1 50001  closed: normal   1.00 kB       0 B  500 µs  -",
    ]
    assert [line[:17] for line in texts(connections_lines(now, WEB, last, 80, 2))] == ["  peer           ", "> 192.0.2.1 50001"]


def test_the_ladder_has_every_change_of_state_at_its_time() -> None:
    now = of_connections()
    lines = texts(ladder(now, connections_of(now, WEB)[-1].key, 80, 30))
    assert [(line[5:14].strip(), line[16:27].strip()) for line in lines[1:] if line[16:27].strip().isupper()] == [
        ("0 s", "SYN_SENT"),
        ("1.00 ms", "ESTABLISHED"),
        ("901 ms", "FIN_WAIT1"),
        ("961 ms", "FIN_WAIT2"),
        ("1.00 s", "CLOSE"),
    ]
    assert not any("events were lost" in line or "descriptor" in line for line in lines)


@pytest.mark.parametrize("service", [WEB, ("server", "443")])
def test_both_ends_on_this_machine_are_one_ladder(service: tuple[str, str]) -> None:
    now = of_both_ends()
    lines = texts(ladder(now, connections_of(now, service)[0].key, 100, 40))
    drawn = [line for line in lines[1:] if "SYN_SENT" in line or "ESTABLISHED" in line]
    assert drawn, lines
    assert {line.split()[0] for line in lines[1:] if line.strip()} == {"b1"}
    assert any("SYN_SENT" in line and "SYN_RECV" in line for line in lines)


def test_a_connection_without_records_has_a_sentence() -> None:
    (line,) = texts(ladder(of_connections(), 12345, 120, 30))
    assert "its first records are not kept" in line
