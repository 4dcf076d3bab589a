"""Filters as the user says them, and what the compiled C of bpf/filter.h then decides.

The programs' own headers are compiled with gcc, around stand-ins for the kernel's helpers; Python's ipaddress is the oracle.
"""

from __future__ import annotations

import ctypes
import ipaddress
import itertools
import os
import random
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from tests.needs import tool
from tracer.errors import UsageError
from tracer.kernel.constants import Constants
from tracer.kernel.fields import FIELDS
from tracer.kernel.filters import CGROUP_ROOTS, Filters, filter_macros
from tracer.kernel.sources import read_source

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

CLIENT, SERVER = 1, 2
NETNS = 4026531833

# What the programs find in a kernel, as far as the filters need it.
KERNEL = r"""
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long long u64; typedef int s32;
#define __always_inline inline
#define bpf_htonl __builtin_bswap32
#define bpf_ntohs __builtin_bswap16
#define bpf_probe_read_kernel(to, size, from) (memcpy(to, from, size), 0)
#define BPF_RINGBUF_OUTPUT(name, pages)
#define BPF_PERCPU_ARRAY(name, leaf_type, size)
/* a table with room for one entry */
#define BPF_F_TABLE(kind, key_type, leaf_type, name, size, flags) \
	static struct { key_type key; leaf_type leaf; bool used; } name##_entry; \
	static leaf_type *name##_lookup(key_type *key) \
	{ return name##_entry.used && *key == name##_entry.key ? &name##_entry.leaf : NULL; } \
	static long name##_update(key_type *key, leaf_type *leaf) \
	{ name##_entry.key = *key; name##_entry.leaf = *leaf; name##_entry.used = true; return 0; } \
	static struct { leaf_type *(*lookup)(key_type *); long (*update)(key_type *, leaf_type *); } name = \
	{ name##_lookup, name##_update }
struct task { u32 flags; u32 tgid; struct task *leader; u64 start; char comm[16]; };
static struct task current_task = { .leader = &current_task, .comm = "somebody" };
static u64 bpf_get_current_task(void) { return (u64)&current_task; }
static u32 bpf_get_smp_processor_id(void) { return 0; }
"""

NODES = r"""
struct node { u64 id; };
struct cgroup_ { struct node *kn; u32 level; u32 unused; u64 ancestor_ids[4]; struct cgroup_ *ancestors[4]; };
struct socket_ { struct cgroup_ *cgroup; };
"""

PLACES = {
    "sock__sk_cgrp_data__cgroup": (0, 8),
    "cgroup__kn": (0, 8),
    "cgroup__level": (8, 4),
    "cgroup__ancestor_ids": (16, 32),
    "cgroup__ancestors": (48, 32),
    "kernfs_node__id": (0, 8),
    "task_struct__flags": (0, 4),
    "task_struct__tgid": (4, 4),
    "task_struct__group_leader": (8, 8),
    "task_struct__start_time": (16, 8),
    "task_struct__comm": (24, 16),
    # a listener's place in the list of its port, which its children copy
    "sock_common__skc_bind_node": (8, 16),
    "sock_common__skc_bind_node__pprev": (16, 8),
    "sock_common__skc_state": (24, 1),
}

ASK = r"""
bool ask(const void *sk, const u32 *local, const u32 *remote, u16 local_port, u16 remote_port, u8 role, u32 netns, u64 pid)
{
	struct tuple t = { .local_port = local_port, .remote_port = remote_port };
	memcpy(t.local, local, 16);
	memcpy(t.remote, remote, 16);
	current_task.tgid = pid;
	return wanted(sk, &t, role, netns, true);
}
bool ask_stray(const u32 *local, const u32 *remote, u16 local_port, u16 remote_port, u8 role, u32 netns)
{
	struct tuple t = { .local_port = local_port, .remote_port = remote_port };
	memcpy(t.local, local, 16);
	memcpy(t.remote, remote, 16);
	return !FILTER_NEEDS_SOCKET && stray_wanted(&t, role, netns);
}
static struct bound { u64 cgroup; u64 next; u64 pprev; u8 state; } listener, child;
static u64 first;
/* A listener of this process, and what a socket that came to it looks like. */
const void *listen_on(u32 pid)
{
	struct owner owner = { .process = { .pid = pid } };
	u64 key = (u64)&listener;
	first = (u64)&listener.next;
	listener.state = STATE_LISTEN;
	listener.pprev = child.pprev = (u64)&first;
	listeners.update(&key, &owner);
	return &child;
}
bool ask_cgroup(u32 level, const u64 *ids)
{
	static struct node nodes[4];
	static struct cgroup_ all[4];
	for (u32 i = 0; i <= level; i++) {
		nodes[i].id = ids[i];
		all[i] = (struct cgroup_){ .kn = &nodes[i], .level = i };
		for (u32 j = 0; j <= i; j++) {
			all[i].ancestor_ids[j] = ids[j];
			all[i].ancestors[j] = &all[j];
		}
	}
	struct socket_ sk = { &all[level] };
	struct tuple t = {};
	return wanted(&sk, &t, 1, 1, true);
}
"""


def field_macros(lacking: tuple[str, ...]) -> str:
    lines = []
    for field in FIELDS:
        offset, size = (-1, 1) if field.macro in lacking else PLACES.get(field.macro, (-1, 1))
        lines.append(f"#define OFFSET_{field.macro} {offset}\n#define SIZE_{field.macro} {size}\n")
        lines.append(f"#define SHIFT_{field.macro} 0\n#define BITS_{field.macro} 8\n")
    return "".join(lines)


def compiled(directory: Path, text: str) -> ctypes.CDLL:
    source, library = directory / "filter.c", directory / "filter.so"
    source.write_text(text, encoding="utf-8")
    command = [tool("gcc"), "-std=gnu11", "-O1", "-w", "-shared", "-fPIC", "-o", str(library), str(source)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return ctypes.CDLL(str(library))


def words(address: str) -> bytes:
    packed = ipaddress.ip_address(address).packed
    return packed if len(packed) == 16 else bytes(10) + b"\xff\xff" + packed


@dataclass(frozen=True)
class Programs:
    """The compiled headers, to be asked whom they want."""

    shared: ctypes.CDLL

    def want(
        self,
        local: str = "10.0.0.1",
        remote: str = "10.0.0.2",
        *,
        local_port: int = 40000,
        remote_port: int = 443,
        role: int = CLIENT,
        netns: int = NETNS,
        pid: int = 1,
        sk: int | None = None,
    ) -> bool:
        answer = self.shared.ask(
            ctypes.c_void_p(sk),
            words(local),
            words(remote),
            local_port,
            remote_port,
            role,
            ctypes.c_uint32(netns),
            ctypes.c_uint64(pid),
        )
        return bool(answer & 255)

    def want_stray(self, *, local_port: int = 443, role: int = SERVER) -> bool:
        answer = self.shared.ask_stray(words("10.0.0.1"), words("10.0.0.2"), local_port, 40000, role, ctypes.c_uint32(NETNS))
        return bool(answer & 255)

    def listen_on(self, pid: int) -> int:
        """Have a process listen; return a socket that came to it."""
        self.shared.listen_on.restype = ctypes.c_void_p
        return int(self.shared.listen_on(ctypes.c_uint32(pid)))

    def want_cgroup(self, *ids: int) -> bool:
        return bool(self.shared.ask_cgroup(len(ids) - 1, (ctypes.c_uint64 * len(ids))(*ids)) & 255)


def predicates(filters: Filters) -> str:
    """Return the definitions with the numbers that loading puts in."""
    constants = Constants()
    text = filter_macros(filters, constants)
    return re.sub(r"CONSTANT\((\d+)\)", lambda found: f"{constants.values[int(found[1])]}ULL", text)


def programs(directory: Path, filters: Filters | str, *, lacking: tuple[str, ...] = ()) -> Programs:
    macros = filters if isinstance(filters, str) else predicates(filters)
    headers = [
        read_source(name)
        for name in ("event.h", "maps.h", "read.h", "sock.h", "descriptor.h", "process.h", "owner.h", "filter.h")
    ]
    settings_ = f"#define CONNS_FLAGS 0\n#define OWN_NETNS {NETNS}u\n"
    return Programs(compiled(directory, "".join([KERNEL, NODES, settings_, macros, field_macros(lacking), *headers, ASK])))


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
    return next((Path(root) for root in CGROUP_ROOTS if (Path(root) / "cgroup.controllers").exists()), None)


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
        Filters(**filters)  # type: ignore[arg-type]
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
        return ipaddress.IPv6Address(words(str(address))) in network
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
            assert bool(ask(words(str(address)))) == contains(network, address), (network, address)


def test_the_word_order_is_that_of_this_machine() -> None:
    macro = predicates(Filters(addresses=("10.0.0.0/8",)))
    mask = int.from_bytes(b"\xff\x00\x00\x00", sys.byteorder)
    assert f"((a)[3] & {mask}ULL) == {int.from_bytes(bytes([10, 0, 0, 0]), sys.byteorder)}ULL" in macro
