from __future__ import annotations

import errno

import numpy as np
import pytest

from tracer.model.tcp import (
    CLOSE_REASONS,
    FAILURE_REASONS,
    FLAG,
    KINDS,
    RETRANSMIT_KINDS,
    ROLES,
    STATE,
    STATES,
    close_reasons,
    failure_reasons,
)


def reason_of_failure(error: int, *flags: str, state: str = "syn_sent") -> str:
    codes = failure_reasons(*columns(error, flags, state))
    return FAILURE_REASONS[codes[0]]


def reason_of_close(state: str, error: int, *flags: str) -> str:
    codes = close_reasons(*columns(error, flags, state))
    return CLOSE_REASONS[codes[0]]


def columns(error: int, flags: tuple[str, ...], state: str):  # type: ignore[no-untyped-def]  # noqa: ANN201 - three columns
    bits = sum(FLAG[flag] for flag in flags)
    return np.array([STATE[state]], np.uint8), np.array([error], np.int32), np.array([bits], np.uint16)


def test_names_are_those_of_the_header_in_lower_case() -> None:
    assert STATES[1] == "established"
    assert STATES[6] == "time_wait"
    assert ROLES == ("unknown", "client", "server")
    assert KINDS[1:] == ("handshake", "failure", "close", "retransmit", "reset", "state", "call", "segment")
    assert RETRANSMIT_KINDS[1:] == ("syn", "syn_ack", "fast", "timeout", "tail_loss_probe", "fin", "mtu")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (errno.ECONNREFUSED, "refused"),
        (errno.ETIMEDOUT, "timed_out"),
        (errno.EHOSTUNREACH, "host_unreachable"),
        (errno.ENETUNREACH, "net_unreachable"),
        (errno.ECONNRESET, "reset"),
        (0, "canceled"),
        (errno.EACCES, "other"),
        (100_000, "other"),
        (-1, "other"),
    ],
)
def test_a_failure_is_named_by_the_socket_error(error: int, reason: str) -> None:
    assert reason_of_failure(error) == reason


def test_a_failure_without_error_and_without_a_syn_found_no_port() -> None:
    assert reason_of_failure(0, "no_syn", "no_port") == "no_port"


def test_a_connect_that_found_a_port_and_failed_before_its_syn_is_other() -> None:
    assert reason_of_failure(0, "no_syn") == "other"


def test_a_socket_closed_in_repair_mode_is_other_whatever_else_is_there() -> None:
    assert reason_of_close("established", 0, "repair") == "other"
    assert reason_of_close("fin_wait1", errno.ECONNRESET, "repair", "reset_received") == "other"


def test_a_failure_with_an_error_and_without_a_syn_keeps_its_error() -> None:
    assert reason_of_failure(errno.ENETUNREACH, "no_syn") == "net_unreachable"


def test_a_server_handshake_that_met_a_reset_was_reset_even_without_an_error() -> None:
    assert reason_of_failure(0, "reset_received", state="syn_recv") == "reset"


@pytest.mark.parametrize("state", ["fin_wait2", "closing", "last_ack"])
def test_an_orderly_close_is_normal(state: str) -> None:
    assert reason_of_close(state, 0) == "normal"


@pytest.mark.parametrize("state", ["established", "close_wait"])
def test_leaving_an_open_state_without_error_is_an_abort_by_this_side(state: str) -> None:
    assert reason_of_close(state, 0, "unexplained") == "reset_sent"


@pytest.mark.parametrize("state", ["fin_wait1", "closing", "last_ack"])
def test_a_socket_that_is_dropped_before_all_is_acknowledged_was_neither_closed_nor_reset(state: str) -> None:
    assert reason_of_close(state, 0, "unexplained") == "other"


def test_an_orphan_for_which_there_was_no_room_as_a_timewait_object_is_a_normal_end() -> None:
    assert reason_of_close("fin_wait2", 0, "unexplained") == "normal"


def test_a_reset_sent_from_a_closing_state_is_an_abort_too() -> None:
    assert reason_of_close("fin_wait2", 0, "reset_sent") == "reset_sent"


@pytest.mark.parametrize(("state", "error"), [("established", errno.ECONNRESET), ("close_wait", errno.EPIPE)])
@pytest.mark.parametrize("flags", [(), ("reset_received",)])
def test_a_reset_by_the_peer_is_told_by_its_error_with_or_without_the_flag(
    state: str, error: int, flags: tuple[str, ...]
) -> None:
    assert reason_of_close(state, error, *flags) == "reset_received"


def test_disconnecting_sets_the_peers_error_but_only_sent_a_reset() -> None:
    assert reason_of_close("established", errno.ECONNRESET, "reset_sent") == "reset_sent"


def test_an_abort_from_outside_sends_a_reset() -> None:
    assert reason_of_close("established", errno.ECONNABORTED, "reset_sent") == "reset_sent"


def test_an_abort_from_outside_after_both_fins_sends_none() -> None:
    assert reason_of_close("last_ack", errno.ECONNABORTED) == "other"


def test_data_that_overlap_the_peers_fin_are_answered_with_our_reset() -> None:
    assert reason_of_close("close_wait", errno.EPIPE, "reset_sent") == "reset_sent"


@pytest.mark.parametrize("state", ["established", "close_wait", "fin_wait1", "last_ack"])
def test_the_kernels_patience_ends_in_any_state(state: str) -> None:
    assert reason_of_close(state, errno.ETIMEDOUT) == "timed_out"


def test_an_icmp_error_that_outlived_the_retransmissions_is_other() -> None:
    assert reason_of_close("established", errno.EHOSTUNREACH) == "other"


def test_a_batch_is_named_row_by_row() -> None:
    states = np.array([STATE["fin_wait2"], STATE["established"], STATE["established"]], np.uint8)
    errors = np.array([0, 0, errno.ETIMEDOUT], np.int32)
    codes = close_reasons(states, errors, np.zeros(3, np.uint16))
    assert [CLOSE_REASONS[code] for code in codes] == ["normal", "reset_sent", "timed_out"]


def test_an_empty_batch_has_no_reasons() -> None:
    assert len(failure_reasons(np.empty(0, np.uint8), np.empty(0, np.int32), np.empty(0, np.uint16))) == 0
