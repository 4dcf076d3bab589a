"""Filters as the user says them, and what the compiled C of bpf/filter.h then decides.

The programs' own headers are compiled with gcc, around stand-ins for the kernel's helpers; Python's ipaddress is the oracle.
"""

from __future__ import annotations

import ipaddress
import itertools
import os
import random
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from tests.unit.addresses import mapped
from tests.unit.kernel.filterprograms import CLIENT, NETNS, SERVER, compiled, predicates, programs
from tracer.errors import UsageError
from tracer.ingest.cgroups import MOUNTS, cgroup2_mount
from tracer.kernel.filters import Filters

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@pytest.mark.needs("gcc")
def test_without_filters_everything_is_wanted(tmp_path: Path) -> None:
    asked = programs(tmp_path, Filters())
    assert predicates(Filters()) == ""
    assert asked.want()
    assert asked.want("::1", "2001:db8::1", role=SERVER, netns=5, pid=23)
    assert asked.want_stray()


@pytest.mark.needs("gcc")
def test_the_service_port_is_the_remote_one_for_a_client_and_the_local_one_for_a_server(tmp_path: Path) -> None:
    asked = programs(tmp_path, Filters(ports=(443, 65535)))
    for port, wanted in ((443, True), (65535, True), (80, False), (0, False), (442, False), (444, False)):
        assert asked.want(remote_port=port, local_port=1, role=CLIENT) == wanted
        assert asked.want(local_port=port, remote_port=1, role=SERVER) == wanted
        assert asked.want_stray(local_port=port) == wanted
    assert not asked.want(local_port=443, remote_port=80, role=CLIENT)
    assert not asked.want(local_port=80, remote_port=443, role=SERVER)


@pytest.mark.needs("gcc")
@pytest.mark.parametrize(("name", "number", "other"), [("client", CLIENT, SERVER), ("server", SERVER, CLIENT)])
def test_a_role_wants_its_own_side_only(name: str, number: int, other: int, tmp_path: Path) -> None:
    asked = programs(tmp_path, Filters(role=name))
    assert asked.want(role=number)
    assert not asked.want(role=other)


@pytest.mark.needs("gcc")
def test_the_own_network_namespace_excludes_all_others(tmp_path: Path) -> None:
    asked = programs(tmp_path, Filters(own_netns=True))
    assert asked.want(netns=NETNS)
    assert not any(asked.want(netns=netns) for netns in (NETNS - 1, NETNS + 1, 0, 2**32 - 1))


@pytest.mark.needs("gcc")
def test_an_address_matches_on_either_side(tmp_path: Path) -> None:
    asked = programs(tmp_path, Filters(addresses=("10.0.0.0/8", "2001:db8::/32")))
    assert asked.want("10.1.2.3", "192.0.2.1")
    assert asked.want("192.0.2.1", "10.255.255.255")
    assert asked.want("::1", "2001:db8:ffff::1")
    assert not asked.want("11.0.0.0", "9.255.255.255")
    assert not asked.want("2001:db9::", "2001:db7:ffff::1")


@pytest.mark.needs("gcc")
def test_all_kinds_of_filters_must_hold_together(tmp_path: Path) -> None:
    asked = programs(tmp_path, Filters(ports=(443,), addresses=("10.0.0.2",), role="client", own_netns=True))
    right: dict[str, object] = {"remote": "10.0.0.2", "remote_port": 443, "role": CLIENT, "netns": NETNS}
    wrong: dict[str, object] = {"remote": "10.0.0.3", "remote_port": 80, "role": SERVER, "netns": 5}
    for choice in itertools.product((True, False), repeat=4):
        values = {key: (right if take else wrong)[key] for key, take in zip(right, choice, strict=True)}
        assert asked.want(**values) == all(choice)  # type: ignore[arg-type]


@pytest.mark.needs("gcc")
def test_a_pid_wants_what_the_process_opens_and_what_comes_to_its_listeners(tmp_path: Path) -> None:
    asked = programs(tmp_path, Filters(pid=os.getpid()))
    pid = os.getpid()
    assert asked.want(pid=pid)
    assert not asked.want(pid=pid + 1)
    child = asked.listen_on(pid + 1)
    assert not asked.want(role=SERVER, local_port=80, pid=0, sk=child)
    assert asked.listen_on(pid) == child
    assert asked.want(role=SERVER, local_port=80, pid=0, sk=child)
    assert not asked.want(role=CLIENT, local_port=80, pid=0, sk=child)


@pytest.mark.needs("gcc")
def test_a_reset_without_a_socket_cannot_be_anyones(tmp_path: Path) -> None:
    assert not programs(tmp_path, Filters(pid=os.getpid())).want_stray()


CGROUP = "#define FILTER_CGROUP 77ULL\n#define FILTER_CGROUP_LEVEL {}\n#define FILTER_CGROUP_LAST {}\n"


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("lacking", [("cgroup__ancestors",), ("cgroup__ancestor_ids",)], ids=["ancestor_ids", "ancestors"])
def test_a_cgroup_wants_its_own_sockets_and_those_below_on_older_and_newer_kernels(
    lacking: tuple[str, ...], tmp_path: Path
) -> None:
    asked = programs(tmp_path, CGROUP.format(2, 2), lacking=lacking)
    assert asked.want_cgroup(1, 5, 77)
    assert asked.want_cgroup(1, 5, 77, 99)
    assert not asked.want_cgroup(1, 5)
    assert not asked.want_cgroup(1, 5, 78)
    assert not asked.want_cgroup(1, 77, 5)
    assert not asked.want_cgroup(1, 5, 6, 77)


@pytest.mark.needs("gcc")
def test_a_cgroup_whose_level_is_not_known_is_found_at_any(tmp_path: Path) -> None:
    asked = programs(tmp_path, CGROUP.format(0, 3), lacking=("cgroup__ancestor_ids",))
    assert asked.want_cgroup(77)
    assert asked.want_cgroup(1, 5, 77)
    assert asked.want_cgroup(1, 77, 5, 6)
    assert not asked.want_cgroup(1, 5, 6, 7)


def cgroup_root() -> Path | None:
    return cgroup2_mount(MOUNTS.read_text(encoding="utf-8"))


needs_cgroups = pytest.mark.skipif(cgroup_root() is None, reason="needs a mounted cgroup2")


@needs_cgroups
def test_the_root_cgroup_is_at_level_0_with_its_inode_as_id() -> None:
    root = cgroup_root()
    assert root is not None
    macros = predicates(Filters(cgroup=str(root)))
    assert (
        macros
        == f"#define FILTER_CGROUP {root.stat().st_ino}ULL\n#define FILTER_CGROUP_LEVEL 0\n#define FILTER_CGROUP_LAST 0\n"
    )


@needs_cgroups
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root makes cgroups")
def test_a_cgroup_is_known_by_its_depth_and_inode_however_its_path_is_written(tmp_path: Path) -> None:
    root = cgroup_root()
    assert root is not None
    outer = root / f"tcptrace-test-{os.getpid()}"
    inner = outer / "inner"
    link = tmp_path / "link"
    try:
        inner.mkdir(parents=True)
    except OSError as error:
        pytest.skip(f"cannot make a cgroup: {error.strerror}")
    try:
        link.symlink_to(inner)
        expected = (
            f"#define FILTER_CGROUP {inner.stat().st_ino}ULL\n#define FILTER_CGROUP_LEVEL 2\n#define FILTER_CGROUP_LAST 2\n"
        )
        for path in (inner, f"{inner}/", outer / "inner" / ".." / "inner", link):
            assert predicates(Filters(cgroup=str(path))) == expected
    finally:
        inner.rmdir()
        outer.rmdir()


def test_the_level_of_a_cgroup_is_not_known_where_the_root_is_not_to_be_seen(tmp_path: Path) -> None:
    inner = tmp_path / "seen/inner"
    inner.mkdir(parents=True)
    for place in (inner.parent, inner):
        for name in ("cgroup.controllers", "cgroup.events"):
            (place / name).touch()
    last = "#define FILTER_CGROUP_LEVEL 0\n#define FILTER_CGROUP_LAST 15\n"
    assert predicates(Filters(cgroup=str(inner))) == f"#define FILTER_CGROUP {inner.stat().st_ino}ULL\n{last}"


def test_a_directory_that_is_no_cgroup_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no cgroup of version 2") as caught:
        predicates(Filters(cgroup=str(tmp_path)))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("option", "filters"),
    [
        ("--port 0", {"ports": (0,)}),
        ("--port 65536", {"ports": (443, 65536)}),
        ("--port -1", {"ports": (-1,)}),
        ("--address 10.0.0.256", {"addresses": ("10.0.0.256",)}),
        ("--address 10.0.0.0/33", {"addresses": ("::1", "10.0.0.0/33")}),
        ("--address ", {"addresses": ("",)}),
        ("--address localhost", {"addresses": ("localhost",)}),
        ("--role both", {"role": "both"}),
        ("--role ", {"role": ""}),
        ("--pid 0", {"pid": 0}),
        ("--pid 99999999", {"pid": 99999999}),
        ("--cgroup /no/such", {"cgroup": "/no/such"}),
    ],
)
def test_a_filter_that_can_match_nothing_is_refused_by_its_name(option: str, filters: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=f"^{option}") as caught:
        Filters(**filters).check_here()  # type: ignore[arg-type]
    assert caught.value.exit_status == 2
    assert caught.value.hint


def networks() -> st.SearchStrategy[Network]:
    v4 = st.builds(lambda a, p: ipaddress.ip_network((a, p), strict=False), st.integers(0, 2**32 - 1), st.integers(0, 32))
    v6 = st.builds(
        lambda a, p: ipaddress.ip_network((ipaddress.IPv6Address(a), p), strict=False),
        st.integers(0, 2**128 - 1),
        st.integers(0, 128),
    )
    return st.one_of(v4, v6)


def near(network: Network, number: random.Random) -> list[Address]:
    """Return addresses inside, at the borders, just outside and anywhere."""
    make = type(network.network_address)
    first, last, top = int(network.network_address), int(network.broadcast_address), 2**network.max_prefixlen - 1
    numbers = {first, last, max(first - 1, 0), min(last + 1, top), number.randint(first, last), number.randint(0, top)}
    numbers |= {first ^ 1 << number.randrange(network.max_prefixlen) for _ in range(8)}
    return [make(n) for n in sorted(numbers)]


def contains(network: Network, address: Address) -> bool:
    """Say whether an address, IPv4 as it comes mapped into IPv6, is in the network; the oracle."""
    if isinstance(network, ipaddress.IPv6Network) and isinstance(address, ipaddress.IPv4Address):
        return ipaddress.IPv6Address(mapped(str(address))) in network
    if isinstance(network, ipaddress.IPv4Network) and isinstance(address, ipaddress.IPv6Address):
        return address.ipv4_mapped is not None and address.ipv4_mapped in network
    return address in network


@pytest.mark.needs("gcc")
@settings(max_examples=8)
@given(st.lists(networks(), min_size=40, max_size=80), st.randoms(use_true_random=False))
def test_an_address_filter_decides_like_pythons_ipaddress(
    tmp_path_factory: pytest.TempPathFactory, found: list[Network], number: random.Random
) -> None:
    fixed = [ipaddress.ip_network(text) for text in ("0.0.0.0/0", "::/0", "::ffff:0:0/96", "::ffff:10.0.0.0/104", "::/96")]
    everything: list[Network] = [*fixed, *found]
    text = "#include <stdbool.h>\ntypedef unsigned int u32;\n"
    for i, network in enumerate(everything):
        text += predicates(Filters(addresses=(str(network),)))
        text += f"int in_{i}(const u32 *address) {{ return FILTER_ADDRESS(address); }}\n#undef FILTER_ADDRESS\n"
    library = compiled(tmp_path_factory.mktemp("addresses"), text)
    addresses = [address for network in everything for address in near(network, number)]
    for i, network in enumerate(everything):
        ask = library[f"in_{i}"]
        for address in [*near(network, number), *number.sample(addresses, 20)]:
            assert bool(ask(mapped(str(address)))) == contains(network, address), (network, address)


def test_the_word_order_is_that_of_this_machine() -> None:
    macro = predicates(Filters(addresses=("10.0.0.0/8",)))
    mask = int.from_bytes(b"\xff\x00\x00\x00", sys.byteorder)
    assert f"((a)[3] & {mask}ULL) == {int.from_bytes(bytes([10, 0, 0, 0]), sys.byteorder)}ULL" in macro
