from __future__ import annotations

import socket
from ipaddress import ip_address

import numpy as np
import pytest

from tests.unit.model.dumps import OTHER_NETNS, OWN
from tracer.ingest.interfaces import NAMES, learn, name_here, name_there, split_address
from tracer.model.naming import address_text

PLAIN = ip_address("fe80::1").packed
ON_SEVEN = PLAIN[:4] + (7).to_bytes(4, "big") + PLAIN[8:]


@pytest.fixture(autouse=True)
def fixture_names() -> None:
    """Have no names of other tests."""
    NAMES.clear()


@pytest.mark.parametrize("text", ["192.0.2.1", "2001:db8::1", "fec0::1", "ff02::1", "::", "fe80::1"])
def test_an_address_without_an_interface_stays_as_it_is(text: str) -> None:
    packed = ip_address(f"::ffff:{text}" if "." in text else text).packed
    assert split_address(packed) == (packed, 0)
    assert address_text(packed, OWN) == text


def test_an_interface_has_the_name_of_its_namespace_or_its_number() -> None:
    assert split_address(ON_SEVEN) == (PLAIN, 7)
    assert address_text(ON_SEVEN, OWN) == "fe80::1%7"
    ask_for({(OWN, 7): "eth0"})
    assert (address_text(ON_SEVEN, OWN), address_text(ON_SEVEN, OTHER_NETNS)) == ("fe80::1%eth0", "fe80::1%7")
    ask_for({})
    assert address_text(ON_SEVEN, OWN) == "fe80::1%7", "there is none any more"


def ask_for(names: dict[tuple[int, int], str]) -> None:
    addresses = np.frombuffer(ON_SEVEN + ip_address("::1").packed, np.uint8).reshape(2, 16)
    learn(np.array([OWN, OWN], np.uint32), addresses, lambda netns, index: names.get((netns, index)))


def test_the_kernel_is_asked_by_number_here_and_where_a_socket_is() -> None:
    index = socket.if_nametoindex("lo")
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as there:
        assert name_here(index) == name_there(there.fileno(), index) == "lo"
        assert name_here(999_999) is name_there(there.fileno(), 999_999) is None
