"""What some kernels can show and others cannot, asked of the running kernel's BTF; never of its version.

The versions are those in which mainline kernels got a feature. They are for readers of docs/kernels.md alone: a distribution
may have taken a change earlier. Tests name what they need from here (`@pytest.mark.needs_kernel`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tracer.kernel.btf import Btf
from tracer.kernel.programs import TRACEPOINTS, has_optional_argument, lists_bound_ports


@dataclass(frozen=True)
class Feature:
    """Something that a kernel may lack.

    without: what users miss then, as a sentence. since: the mainline version that brought it.
    """

    name: str
    what: str
    without: str
    since: str
    present: Callable[[Btf], bool]


def _tracepoint(name: str) -> Callable[[Btf], bool]:
    return lambda btf: btf.tracepoint_arguments(name) is not None


def _argument(name: str) -> Callable[[Btf], bool]:
    point = next(point for point in TRACEPOINTS if point.name == name)
    return lambda btf: has_optional_argument(point, btf.tracepoint_arguments(name))


def _member(type_name: str, path: str) -> Callable[[Btf], bool]:
    return lambda btf: btf.member(type_name, path) is not None


FEATURES = (
    Feature(
        "cgroups",
        "the cgroup of a connection",
        "`container` of events is null, the labels `container` and `workload` are empty, and `--cgroup` is refused",
        "5.15",
        _member("sock", "sk_cgrp_data.cgroup"),
    ),
    Feature(
        "calls",
        "what `send()` and `recv()` returned",
        "`follow` draws no calls and no workers",
        "6.3",
        _tracepoint("sock_send_length"),
    ),
    Feature(
        "port_range",
        "a socket's own range of ports, when none of it is free",
        "`port_range` of failures is null: there is no such option",
        "6.3",
        _member("inet_sock", "local_port_range"),
    ),
    Feature(
        "bound_ports",
        "ports that bind() holds before connect()",
        "`ephemeral_ports_used` of the destination `*` lacks them",
        "6.8",
        lists_bound_ports,
    ),
    Feature("reset_reason", "why a reset was sent", "`reason` of resets is null", "6.10", _argument("tcp_send_reset")),
    Feature(
        "stray_resets", "resets for closed ports", "only resets of connections are counted", "6.10", _argument("tcp_send_reset")
    ),
    Feature(
        "retransmit_err",
        "retransmissions that failed to leave",
        "they are not counted apart, and `audit` takes their number from the kernel",
        "6.17",
        _argument("tcp_retransmit_skb"),
    ),
)


def feature(name: str) -> Feature:
    """Return the feature of a name; raises KeyError where there is none."""
    return {feature.name: feature for feature in FEATURES}[name]


def lacking(btf: Btf) -> tuple[Feature, ...]:
    """Return what the running kernel does not have."""
    return tuple(feature for feature in FEATURES if not feature.present(btf))


def features_table() -> str:
    """Return the table of docs/kernels.md: features by the mainline kernel that has them."""
    rows = [f"| {feature.what} | {feature.since} | {feature.without} |" for feature in FEATURES]
    return "\n".join(["| tcptrace shows | since Linux | before |", "| --- | --- | --- |", *rows])
