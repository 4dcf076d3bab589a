from __future__ import annotations

from pathlib import Path

import pytest

from tracer.ingest.ports import EphemeralPorts, parse_ports, read_ports


def test_the_range_is_two_numbers_both_included() -> None:
    assert parse_ports(b"32768\t60999\n", b"\n") == EphemeralPorts(32768, 60999)
    assert parse_ports(b"32768\t60999\n", b"\n").limit == 28232
    assert parse_ports(b"40000 40010", b"").limit == 11


def test_reserved_ports_and_spans_are_taken_off_where_they_lie_in_the_range() -> None:
    ports = parse_ports(b"40000\t40010\n", b"8080,40001-40003,40010-40012\n")
    assert ports.reserved == {8080, 40001, 40002, 40003, 40010, 40011, 40012}
    assert ports.limit == 7


@pytest.mark.parametrize("text", [b"", b"1", b"1 2 3", b"a b"])
def test_anything_else_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"unpack|literal"):
        parse_ports(text, b"")


def test_the_running_kernel_says_them() -> None:
    sysctls = Path("/proc/sys/net/ipv4")
    with (sysctls / "ip_local_port_range").open("rb") as one, (sysctls / "ip_local_reserved_ports").open("rb") as two:
        ports = read_ports(one.fileno(), two.fileno())
        assert ports == read_ports(one.fileno(), two.fileno())
    assert 0 < ports.low <= ports.high < 65536
