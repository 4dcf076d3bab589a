"""Just enough kernel headers for bcc's own tools, made from the running kernel's BTF, so that they can be measured at all.

As packaged they include linux/tcp.h and net/sock.h, and end where no kernel headers are installed. What they read of those is
six members; these stand here at the running kernel's offsets, on top of our own bpf/kernel.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.needs import ROOT
from tracer.kernel.btf import Btf

SIZED = {1: "unsigned char", 2: "unsigned short", 4: "unsigned int", 8: "unsigned long long"}

PLAIN = """\
#pragma once
#include <linux/types.h>
#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define TASK_COMM_LEN 16
#define offsetof(type, member) __builtin_offsetof(type, member)
#define ntohs(x) __builtin_bswap16(x)
enum { TCP_ESTABLISHED = 1, TCP_SYN_SENT, TCP_SYN_RECV, TCP_FIN_WAIT1, TCP_FIN_WAIT2, TCP_TIME_WAIT, TCP_CLOSE,
       TCP_CLOSE_WAIT, TCP_LAST_ACK, TCP_LISTEN, TCP_CLOSING, TCP_NEW_SYN_RECV };
"""


def make_tree(directory: Path) -> Path:
    """Return a kernel source tree for BCC_KERNEL_SOURCE, written below a directory."""
    tree = directory / "headers"
    shutil.copytree(ROOT / "bpf/kernel", tree)
    for name in ("net/sock.h", "net/tcp.h", "linux/tcp.h", "bcc/proto.h"):
        header = tree / "include" / name
        header.parent.mkdir(exist_ok=True)
        header.write_text("#include <linux/peers.h>\n", encoding="ascii")
    (tree / "include/linux/peers.h").write_text(PLAIN + structs(), encoding="ascii")
    return tree


def structs() -> str:
    """Return the C text of the structures that the tools look into."""
    btf = Btf()
    try:
        return (
            _struct(btf, "sock_common", "skc_family", "skc_state")
            + "struct sock { struct sock_common __sk_common; };\n"
            + _struct(btf, "tcp_sock", "bytes_received", "bytes_acked")
            + _struct(btf, "tcp_skb_cb", "seq")
            + _struct(btf, "sk_buff", "cb")
        )
    finally:
        btf.close()


def _struct(btf: Btf, name: str, *members: str) -> str:
    lines = [_member(btf, name, member) for member in members]
    return f"struct {name} {{ union {{\n{''.join(lines)}}}; }};\n"


def _member(btf: Btf, type_name: str, name: str) -> str:
    found = btf.member(type_name, name)
    assert found is not None, f"this kernel's {type_name} has no {name}"
    declaration = f"{SIZED[found.size]} {name}" if found.size in SIZED else f"char {name}[{found.size}]"
    return f"\tstruct {{ char before_{name}[{found.offset}]; {declaration}; }} __attribute__((packed));\n"
