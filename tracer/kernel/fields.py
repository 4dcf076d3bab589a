"""The members of kernel structures that bpf/sock.h reads, one row each; a newly read member needs a row here.

An optional member that the running kernel lacks switches off what its row names, and tcptrace says so; a required one stops
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


TIME_WAITS = "whether a close found room for a timewait object"
POSITIONS = "some of follow's sequence numbers and windows"
SERVER_TIMES = "servers' handshake times"
SERVERS = "the processes of servers, follow's descriptor numbers"
PIDS = "process ids in this pid namespace"
DEFERRED = "when a Fast Open connect() has sent its SYN"
REPAIR = "connections restored by TCP_REPAIR"
ICMP_ERRORS = "ICMP errors that only the application was told of"
BOUND_BEFORE = "ports that clients took with bind() before the start"
PACE = "out-of-order segments, busy and limited time of a connection behind its last dump"
BEFORE_SYN = "why connect() failed before a SYN"

FIELDS = (
    KernelField("sock_common", "skc_family"),
    KernelField("sock_common", "skc_state"),
    KernelField("sock_common", "skc_num"),
    KernelField("sock_common", "skc_dport"),
    KernelField("sock_common", "skc_daddr"),
    KernelField("sock_common", "skc_rcv_saddr"),
    KernelField("sock_common", "skc_v6_daddr", "IPv6"),
    KernelField("sock_common", "skc_v6_rcv_saddr", "IPv6"),
    KernelField("sock_common", "skc_bound_dev_if"),
    KernelField("sock_common", "skc_net", "network namespaces"),
    KernelField("sock_common", "skc_flags"),
    KernelField("sock_common", "skc_bind_node", f"{SERVER_TIMES}, {SERVERS}"),
    KernelField("sock_common", "skc_bind_node.pprev", f"{SERVER_TIMES}, {SERVERS}"),
    KernelField("sock_common", "skc_hash", TIME_WAITS),
    KernelField("sock_common", "skc_nulls_node", TIME_WAITS),
    KernelField("inet_hashinfo", "ehash", TIME_WAITS),
    KernelField("inet_hashinfo", "ehash_mask", TIME_WAITS),
    # one of the two: each namespace's own table since Linux 6.1, the protocol's only one before
    KernelField("net", "ipv4.tcp_death_row.hashinfo", ""),
    KernelField("sock_common", "skc_prot", ""),
    KernelField("proto", "h.hashinfo", ""),
    KernelField("net", "ns.inum", "network namespaces"),
    KernelField("net_device", "nd_net", "the network namespace of resets for closed ports"),
    KernelField("sock", "sk_protocol"),
    KernelField("sock", "sk_err"),
    KernelField("sock", "sk_err_soft", ICMP_ERRORS),
    KernelField("sock", "sk_error_queue", ICMP_ERRORS),
    KernelField("sk_buff_head", "next", ICMP_ERRORS),
    KernelField("sk_buff_head", "qlen", ICMP_ERRORS),
    KernelField("sk_buff", "next", ICMP_ERRORS),
    KernelField("sock_exterr_skb", "ee.ee_errno", ICMP_ERRORS),
    KernelField("sock_exterr_skb", "ee.ee_origin", ICMP_ERRORS),
    KernelField("sock", "sk_shutdown", ""),
    KernelField("sock", "sk_max_ack_backlog"),
    KernelField("sock", "sk_ack_backlog", SERVERS),
    KernelField("sock", "sk_socket", SERVERS),
    KernelField("socket", "state", BEFORE_SYN),
    KernelField("sock", "sk_cgrp_data.cgroup", "cgroups"),
    KernelField("cgroup", "kn", "cgroups"),
    KernelField("cgroup", "level", "--cgroup"),
    KernelField("cgroup", "ancestors", ""),
    KernelField("cgroup", "ancestor_ids", ""),
    KernelField("kernfs_node", "id", "cgroups"),
    KernelField("inet_sock", "inet_sport"),
    # since Linux 6.3 a socket can have one
    KernelField("inet_sock", "local_port_range", ""),
    KernelField("inet_connection_sock", "icsk_bind_hash", BOUND_BEFORE),
    KernelField("inet_bind_bucket", "fastreuse", BOUND_BEFORE),
    KernelField("inet_connection_sock", "icsk_ca_state"),
    KernelField("inet_connection_sock", "icsk_accept_queue.rskq_defer_accept", SERVER_TIMES),
    KernelField("tcp_sock", "snd_una"),
    KernelField("tcp_sock", "snd_nxt"),
    KernelField("tcp_sock", "write_seq"),
    KernelField("tcp_sock", "rcv_nxt"),
    KernelField("tcp_sock", "copied_seq"),
    KernelField("tcp_sock", "snd_wnd", POSITIONS),
    KernelField("tcp_sock", "rcv_wnd", POSITIONS),
    KernelField("tcp_sock", "snd_cwnd", POSITIONS),
    KernelField("tcp_sock", "snd_ssthresh", POSITIONS),
    KernelField("tcp_sock", "data_segs_out", POSITIONS),
    KernelField("tcp_sock", "data_segs_in", POSITIONS),
    KernelField("tcp_sock", "srtt_us"),
    KernelField("tcp_sock", "segs_in"),
    KernelField("tcp_sock", "segs_out"),
    KernelField("tcp_sock", "total_retrans"),
    KernelField("tcp_sock", "rx_opt.rcv_tsecr"),
    KernelField("tcp_sock", "rx_opt.saw_tstamp"),
    KernelField("tcp_sock", "rx_opt.wscale_ok"),
    KernelField("tcp_sock", "rx_opt.snd_wscale"),
    KernelField("tcp_sock", "rx_opt.sack_ok"),
    KernelField("tcp_sock", "bytes_acked"),
    KernelField("tcp_sock", "bytes_received"),
    KernelField("tcp_sock", "rtt_min.s.v", "the minimum round-trip time"),
    KernelField("tcp_sock", "rcv_ooopack", PACE),
    KernelField("tcp_sock", "chrono_stat", PACE),
    KernelField("tcp_sock", "chrono_start", PACE),
    KernelField("tcp_sock", "chrono_type", PACE),
    KernelField("tcp_sock", "undo_marker", "retransmissions for the path MTU (they show as timeouts)"),
    KernelField("tcp_sock", "syn_data", ""),
    KernelField("tcp_sock", "syn_data_acked", "Fast Open servers' handshake times"),
    # Linux 6.17 knows a Fast Open child that came without data too
    KernelField("tcp_sock", "syn_fastopen_child", ""),
    KernelField("tcp_sock", "fastopen_rsk", "Fast Open connections that are closed before their last ACK"),
    KernelField("tcp_sock", "fastopen_connect", DEFERRED),
    KernelField("tcp_sock", "retrans_stamp", DEFERRED),
    # Linux 6.7 can have its timestamps in microseconds
    KernelField("tcp_sock", "tcp_usec_ts", ""),
    KernelField("tcp_sock", "repair", REPAIR),
    KernelField("request_sock", "num_retrans"),
    KernelField("tcp_request_sock", "snt_isn"),
    KernelField("task_struct", "stack"),
    KernelField("task_struct", "flags"),
    KernelField("task_struct", "tgid"),
    KernelField("task_struct", "group_leader"),
    KernelField("task_struct", "start_time"),
    KernelField("task_struct", "comm"),
    KernelField("task_struct", "signal", SERVERS),
    KernelField("signal_struct", "live", SERVERS),
    KernelField("signal_struct", "pids", PIDS),
    KernelField("pid", "level", PIDS),
    KernelField("pid", "numbers", PIDS),
    KernelField("upid", "nr", PIDS),
    KernelField("upid", "ns", PIDS),
    KernelField("pid_namespace", "ns.inum", PIDS),
    KernelField("task_struct", "files", SERVERS),
    KernelField("files_struct", "fdt", SERVERS),
    KernelField("files_struct", "count", SERVERS),
    KernelField("sock", "sk_wq", SERVERS),
    KernelField("socket_wq", "wait.head", SERVERS),
    KernelField("wait_queue_entry", "flags", SERVERS),
    KernelField("wait_queue_entry", "private", SERVERS),
    KernelField("wait_queue_entry", "entry", SERVERS),
    KernelField("poll_wqueues", "polling_task", SERVERS),
    KernelField("fdtable", "fd", SERVERS),
    KernelField("fdtable", "max_fds", SERVERS),
    KernelField("socket", "file", SERVERS),
    KernelField("socket", "sk", SERVERS),
    KernelField("file", "f_inode", SERVERS),
    KernelField("file", "private_data", SERVERS),
    # Linux 6.13 counts the holders of a file in another member
    KernelField("file", "f_count", ""),
    KernelField("file", "f_ref.refcnt", ""),
    KernelField("inode", "i_mode", SERVERS),
    KernelField("sk_buff", "cb"),
    KernelField("sk_buff", "head"),
    KernelField("sk_buff", "dev", "the network namespace of resets for closed ports"),
    KernelField("sk_buff", "network_header"),
    KernelField("sk_buff", "transport_header"),
    KernelField("tcp_skb_cb", "seq"),
    KernelField("tcp_skb_cb", "end_seq"),
    KernelField("tcp_skb_cb", "ack_seq", "follow's acknowledgement numbers"),
    KernelField("tcp_skb_cb", "tcp_flags"),
    KernelField("tcp_skb_cb", "tcp_gso_segs"),
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
