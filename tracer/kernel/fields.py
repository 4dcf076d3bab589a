"""The members of kernel structures that the programs read; one that is read anew has to be named here.

An optional member that the running kernel lacks switches off what it stands under, and tcptrace says so; a required one stops
the start. Offsets come from BTF and reach the compiler as macros.
"""

from __future__ import annotations

from dataclasses import dataclass

from tracer.errors import TcptraceError
from tracer.kernel.btf import Btf


@dataclass(frozen=True)
class KernelField:
    """A member by its path; loses: what is missing without it, None when nothing works without it."""

    type: str
    path: str
    loses: str | None = None

    @property
    def macro(self) -> str:
        """The name behind OFFSET_ in the programs."""
        return f"{self.type}__{self.path.replace('.', '__')}"


SERVER_TIMES = "servers' handshake times"
SERVERS = "the processes of servers, follow's descriptor numbers"
PACE = "out-of-order segments, busy and limited time of a connection behind its last dump"

REQUIRED_MEMBERS = {
    "sock_common": "skc_family skc_state skc_num skc_dport skc_daddr skc_rcv_saddr skc_bound_dev_if skc_flags",
    "sock": "sk_protocol sk_err sk_max_ack_backlog",
    "inet_sock": "inet_sport",
    "inet_connection_sock": "icsk_ca_state",
    "tcp_sock": "snd_una snd_nxt write_seq rcv_nxt copied_seq srtt_us segs_in segs_out total_retrans rx_opt.rcv_tsecr "
    "rx_opt.saw_tstamp rx_opt.wscale_ok rx_opt.snd_wscale rx_opt.sack_ok bytes_acked bytes_received",
    "request_sock": "num_retrans",
    "tcp_request_sock": "snt_isn",
    "task_struct": "stack flags tgid group_leader start_time comm",
    "sk_buff": "cb head network_header transport_header",
    "tcp_skb_cb": "seq end_seq tcp_flags tcp_gso_segs",
}
"""Members without which nothing works, by structure."""

OPTIONAL_MEMBERS = {
    "IPv6": {"sock_common": "skc_v6_daddr skc_v6_rcv_saddr"},
    "network namespaces": {"sock_common": "skc_net", "net": "ns.inum"},
    "cgroups": {"sock": "sk_cgrp_data.cgroup", "cgroup": "kn", "kernfs_node": "id"},
    "--cgroup": {"cgroup": "level"},
    f"{SERVER_TIMES}, {SERVERS}": {"sock_common": "skc_bind_node skc_bind_node.pprev"},
    SERVER_TIMES: {"inet_connection_sock": "icsk_accept_queue.rskq_defer_accept"},
    SERVERS: {
        "sock": "sk_ack_backlog sk_socket sk_wq",
        "socket": "file sk",
        "file": "f_inode private_data",
        "inode": "i_mode",
        "task_struct": "signal files",
        "signal_struct": "live nr_threads",
        "files_struct": "fdt count",
        "fdtable": "fd max_fds",
        "socket_wq": "wait.head",
        "wait_queue_entry": "flags private entry",
        "poll_wqueues": "polling_task",
    },
    "process ids in this pid namespace": {
        "signal_struct": "pids",
        "pid": "level numbers",
        "upid": "nr ns",
        "pid_namespace": "ns.inum",
    },
    "ports that clients took with bind() before the start": {
        "inet_connection_sock": "icsk_bind_hash",
        "inet_bind_bucket": "fastreuse",
    },
    "whether a close found room for a timewait object": {
        "sock_common": "skc_hash skc_nulls_node",
        "inet_hashinfo": "ehash ehash_mask",
    },
    "ICMP errors that only the application was told of": {
        "sock": "sk_err_soft sk_error_queue",
        "sk_buff_head": "next qlen",
        "sk_buff": "next",
        "sock_exterr_skb": "ee.ee_errno ee.ee_origin",
    },
    "why connect() failed before a SYN": {"socket": "state"},
    "the network namespace of resets for closed ports": {"net_device": "nd_net", "sk_buff": "dev"},
    "some of follow's sequence numbers and windows": {
        "tcp_sock": "snd_wnd rcv_wnd snd_cwnd snd_ssthresh data_segs_out data_segs_in"
    },
    "follow's acknowledgement numbers": {"tcp_skb_cb": "ack_seq"},
    "the minimum round-trip time": {"tcp_sock": "rtt_min.s.v"},
    PACE: {"tcp_sock": "rcv_ooopack chrono_stat chrono_start chrono_type"},
    "retransmissions for the path MTU (they show as timeouts)": {"tcp_sock": "undo_marker"},
    "Fast Open servers' handshake times": {"tcp_sock": "syn_data_acked"},
    "Fast Open connections that are closed before their last ACK": {"tcp_sock": "fastopen_rsk"},
    "when a Fast Open connect() has sent its SYN": {"tcp_sock": "fastopen_connect retrans_stamp"},
    "connections restored by TCP_REPAIR": {"tcp_sock": "repair"},
    # one of several that are read in turn, or one that kernels have since a version
    "": {
        "net": "ipv4.tcp_death_row.hashinfo",  # each namespace's own table since Linux 6.1
        "sock_common": "skc_prot",
        "proto": "h.hashinfo",  # the protocol's only one before
        "sock": "sk_shutdown",
        "cgroup": "ancestors ancestor_ids",
        "inet_sock": "local_port_range",  # since Linux 6.3
        # the second since Linux 6.7, the third since 6.17; without the last the clock is read instead
        "tcp_sock": "syn_data tcp_usec_ts syn_fastopen_child tcp_clock_cache",
        "file": "f_count f_ref.refcnt",  # the second since Linux 6.13
        # where the kernel counts the runs of a program (bpf/runs.c); without them notes are taken
        "bpf_prog": "active aux",
        "bpf_prog_aux": "id used_maps",
        "bpf_map": "id",
        "bpf_array": "pptrs",
        "bpf_iter_meta": "seq",
    },
}
"""Members by what is missing without them, and by structure; "" where nothing is."""

FIELDS = tuple(
    KernelField(structure, path, loses)
    for loses, members in ((None, REQUIRED_MEMBERS), *OPTIONAL_MEMBERS.items())
    for structure, paths in members.items()
    for path in paths.split()
)


def field_macros(btf: Btf) -> tuple[str, tuple[str, ...]]:
    """Return the #define lines for all fields, and what the running kernel cannot show, each named once.

    Raises TcptraceError when a required member is not there.
    """
    lines: list[str] = []
    missing: dict[str, None] = {}
    for field in FIELDS:
        member = btf.member(field.type, field.path)
        if member is None and field.loses is None:
            raise TcptraceError(
                f"this kernel's struct {field.type} has no member {field.path}",
                "this version of tcptrace does not know this kernel yet; please report it with the output of 'tcptrace doctor'",
            )
        if member is None and field.loses:
            missing[field.loses] = None
        values = (-1, 1, 0, 8) if member is None else (member.offset, member.size, member.shift, member.bits or 8)
        names = ("OFFSET", "SIZE", "SHIFT", "BITS")
        lines += [f"#define {name}_{field.macro} {value}\n" for name, value in zip(names, values, strict=True)]
    return "".join(lines), tuple(missing)
