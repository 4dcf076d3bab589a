"""The filters' own C (bpf/filter.h and what it includes), compiled with gcc around stand-ins for the kernel's helpers."""

from __future__ import annotations

import ctypes
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.needs import tool
from tests.unit.addresses import mapped
from tracer.kernel.constants import Constants
from tracer.kernel.fields import FIELDS
from tracer.kernel.filters import Filters, filter_macros
from tracer.kernel.shipped import read_source

CLIENT, SERVER = 1, 2
NETNS = 4026531833

TYPES = r"""
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long long u64; typedef int s32;
#define __always_inline inline
"""

# What the programs find in a kernel, as far as the filters need it.
KERNEL = r"""
#define DIRECT 0
#define CASTS 0
#define OF_STATES 0
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
            mapped(local),
            mapped(remote),
            local_port,
            remote_port,
            role,
            ctypes.c_uint32(netns),
            ctypes.c_uint64(pid),
        )
        return bool(answer & 255)

    def want_stray(self, *, local_port: int = 443, role: int = SERVER) -> bool:
        answer = self.shared.ask_stray(mapped("10.0.0.1"), mapped("10.0.0.2"), local_port, 40000, role, ctypes.c_uint32(NETNS))
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
        for name in ("event.h", "places.h", "read.h", "maps.h", "sock.h", "descriptor.h", "process.h", "owner.h", "filter.h")
    ]
    settings_ = f"#define ON_DEMAND 0\n#define OWN_NETNS {NETNS}u\n"
    return Programs(
        compiled(directory, "".join([TYPES, KERNEL, NODES, settings_, macros, field_macros(lacking), *headers, ASK]))
    )
