"""Why an open connection is slow: whose fault it is, by rules over what the kernel told of it in two looks.

Each rule is a row of RULES: whom it blames, what it takes, the sentence for people, and where the idea comes from. The first
that holds is the answer: what a connection suffers from most comes first. A connection for which none holds is not held up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Numbers = NDArray[np.float64]

NETWORK, PEER, PEERS_APPLICATION = "network", "peer", "peer's application"
OUR_APPLICATION, OUR_BUFFER = "our application", "our buffer"
CAUSES = (NETWORK, PEER, PEERS_APPLICATION, OUR_APPLICATION, OUR_BUFFER)

FAR_SECONDS = 0.01
LOSS = 0.01
PAUSE_SECONDS = 0.1
UNREAD_SECONDS = 0.2
SILENT_SECONDS = 1.0


@dataclass(frozen=True)
class Evidence:
    """What two looks say of connections, columns of shape (n,), float64.

    Between the looks: busy (share of the time with something to send), window and buffer (shares of that in which the peer's
    window, or the send buffer, was too small), lost and disordered (shares of segments retransmitted, and received out of
    order), sent and received (bytes). At the second: unsent, queued (unsent and unacknowledged), send_window (bytes),
    receive_buffer, memory (share of the send buffer that is taken), room (segments that the congestion window allows), backoff
    (time-outs in a row), rtt, silent, pause and quiet (seconds since the peer acknowledged, since something was sent, since
    something was received). unread: bytes that were there at both.
    """

    busy: Numbers
    window: Numbers
    buffer: Numbers
    lost: Numbers
    disordered: Numbers
    sent: Numbers
    received: Numbers
    unsent: Numbers
    queued: Numbers
    unread: Numbers
    send_window: Numbers
    receive_buffer: Numbers
    memory: Numbers
    room: Numbers
    backoff: Numbers
    rtt: Numbers
    silent: Numbers
    pause: Numbers
    quiet: Numbers

    def of(self, place: int) -> dict[str, float]:
        """Return what is known of one of them, by name."""
        return {name: float(column[place]) for name, column in vars(self).items()}


@dataclass(frozen=True)
class CauseRule:
    """cause: one of CAUSES. holds: for which connections, shape (n,). sentence: with names of Evidence. source: of the idea."""

    cause: str
    holds: Callable[[Evidence], Mask]
    sentence: str
    source: str


RULES = (
    CauseRule(
        OUR_APPLICATION,
        lambda e: (e.unread > 0) & ((e.quiet >= UNREAD_SECONDS) | (e.unread >= e.receive_buffer / 4)),
        "our application does not read: {unread_bytes} for it",
        "RFC 9293, 3.8.6: what is not read closes the window that we offer; idiag_rqueue, tcp_diag_get_info()",
    ),
    CauseRule(
        PEERS_APPLICATION,
        lambda e: (e.queued > 0) & (e.send_window == 0),
        "the peer's application does not read: its window is closed, {queued_bytes} here",
        "RFC 9293, 3.8.6.1, zero window probing; tcpi_snd_wnd",
    ),
    CauseRule(
        PEERS_APPLICATION,
        lambda e: (e.busy >= 0.1) & (e.window >= 0.5),
        "the peer's application reads slowly: {window:.0%} of the time with data to send its window is full",
        "tcpi_rwnd_limited of tcpi_busy_time; tcp_chrono_start() in net/ipv4/tcp_output.c",
    ),
    CauseRule(
        PEER,
        lambda e: (e.queued > 0) & (e.backoff >= 2) & (e.silent >= SILENT_SECONDS),
        "the peer does not answer: nothing for {silent:.1f} s, {backoff:.0f} time-outs in a row",
        "RFC 6298, 5.5: the timer backs off while no acknowledgement comes; tcpi_backoff",
    ),
    CauseRule(
        NETWORK,
        lambda e: e.lost >= LOSS,
        "the network loses segments: {lost:.1%} of those sent were retransmissions",
        "RFC 5681: each loss halves the window; tcpi_total_retrans of tcpi_segs_out",
    ),
    CauseRule(
        NETWORK,
        lambda e: e.disordered >= LOSS,
        "the network loses or reorders segments: {disordered:.1%} of those received came out of order",
        "RFC 5681, 4.2; tcpi_rcv_ooopack of tcpi_segs_in",
    ),
    CauseRule(
        OUR_BUFFER,
        lambda e: (e.busy >= 0.1) & (e.buffer >= 0.3),
        "our send buffer is too small: it holds the sender up for {buffer:.0%} of the time with data to send",
        "tcpi_sndbuf_limited of tcpi_busy_time; tcp_check_space() in net/ipv4/tcp_input.c",
    ),
    # what the kernel does not count: each write fills the buffer, and leaves at once
    CauseRule(
        OUR_BUFFER,
        lambda e: (e.busy >= 0.5) & (e.queued > 0) & (e.unsent == 0) & (e.memory >= 0.9) & (e.room > 0),
        "our send buffer is too small: it is full, all in it is sent, and the network would take {room:.0f} segments more",
        "SK_MEMINFO_WMEM_QUEUED of SK_MEMINFO_SNDBUF; tcpi_unacked, tcpi_snd_cwnd",
    ),
    CauseRule(
        NETWORK,
        lambda e: (e.busy >= 0.5) & (e.unsent > 0) & (e.rtt >= FAR_SECONDS),
        "the network is slow: a round trip takes {rtt_ms:.1f} ms, and data wait for the window to grow",
        "RFC 5681, 3.1: a window of segments takes a round trip; tcpi_rtt, tcpi_notsent_bytes",
    ),
    CauseRule(
        OUR_APPLICATION,
        lambda e: (
            (e.sent > 0)
            & (e.busy < 0.5)
            & (e.queued == 0)
            & (e.pause >= PAUSE_SECONDS)
            & ((e.received == 0) | (e.quiet < e.pause))
        ),
        "our application does not write: nothing for {pause:.1f} s, and nothing waits to be sent",
        "Zhang et al., On the characteristics and origins of Internet flow rates, SIGCOMM 2002; tcpi_last_data_sent",
    ),
)

NO_RULE = -1


def verdicts(evidence: Evidence) -> NDArray[np.int8]:
    """Return the number in RULES of the first one that holds for each connection, shape (n,); NO_RULE for none."""
    found = np.full(len(evidence.busy), NO_RULE, np.int8)
    for number, rule in reversed(list(enumerate(RULES))):
        found[rule.holds(evidence)] = number
    return found


def sentence(number: int, evidence: Evidence, place: int) -> str | None:
    """Return a verdict on one connection in words, None for NO_RULE."""
    if number == NO_RULE:
        return None
    known = evidence.of(place)
    waiting = {f"{name}_bytes": _bytes_wait(known[name]) for name in ("unread", "queued")}
    return RULES[number].sentence.format(**known, **waiting, rtt_ms=known["rtt"] * 1000)


def _bytes_wait(count: float) -> str:
    return "1 byte waits" if count == 1 else f"{count:,.0f} bytes wait"
