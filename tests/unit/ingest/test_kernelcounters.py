"""The kernel's counters of this network namespace, as they are read."""

from __future__ import annotations

import pytest

from tracer.ingest.kernelcounters import EXTENDED, KernelCounters, parse_snmp

SNMP = b"Ip: Forwarding\nIp: 1\nTcp: RtoMin MaxConn ActiveOpens\nTcp: 200 -1 23\n"


def test_the_counters_of_a_protocol_come_by_name() -> None:
    assert parse_snmp(SNMP) == {"RtoMin": 200, "MaxConn": -1, "ActiveOpens": 23}


@pytest.mark.parametrize("text", [b"", b"Tcp: RtoMin\n", b"Tcp: RtoMin\nTcp: 1 2\n"])
def test_what_has_no_such_counters_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"no counters|longer|shorter"):
        parse_snmp(text)


def test_the_running_kernels_counters_are_read_and_read_again() -> None:
    kernel_counts = KernelCounters()
    try:
        first, second = kernel_counts.read(), kernel_counts.read()
    finally:
        kernel_counts.close()
    assert {"ActiveOpens", "PassiveOpens", "EstabResets", "RetransSegs", "AttemptFails"} < set(first)
    assert set(EXTENDED) <= set(first) == set(second)
    assert all(second[name] >= first[name] for name in EXTENDED)
