"""What kernels lack: named by feature, and told to users in one table."""

from __future__ import annotations

from tests.needs import ROOT
from tests.unit.kernel.test_programs import SomeKernel
from tracer.kernel.features import FEATURES, features_table, lacking


def test_a_kernel_that_has_everything_lacks_nothing() -> None:
    assert lacking(SomeKernel()) == ()


def test_an_old_kernel_lacks_what_newer_ones_pass_and_have() -> None:
    without = ("sock_send_length", "inet_sock.local_port_range", "sock.sk_cgrp_data.cgroup")
    names = [feature.name for feature in lacking(SomeKernel(*without, old=True))]
    assert names == [feature.name for feature in FEATURES]


def test_a_feature_is_lacking_by_itself() -> None:
    assert [feature.name for feature in lacking(SomeKernel("sock_send_length"))] == ["calls"]


def test_the_document_of_kernels_has_the_table() -> None:
    assert features_table() in (ROOT / "docs/kernels.md").read_text(encoding="utf-8")
