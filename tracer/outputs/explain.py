"""What each step of a connection's life is and why it is so: one sentence, and where the standard says it.

A table, so that all that is claimed of TCP stands in one place and can be read against the RFCs.
"""

from __future__ import annotations

from collections.abc import Mapping

from tracer.model.follow.steps import Step

ISN = "RFC 9293 §3.4.1, RFC 6528 §3"

EXPLANATIONS: Mapping[str, tuple[str, str]] = {
    "listening": (
        "listen() makes the kernel answer requests to this port; what is open waits for accept() in a queue, of which the "
        "backlog is the limit, and net.core.somaxconn that of the backlog.",
        "RFC 9293 §3.10.1",
    ),
    "opened": (
        "connect() makes the kernel open a connection; the descriptor is the number by which the process will name it.",
        "RFC 9293 §3.10.1",
    ),
    "accepted": (
        "A listener was asked; the kernel answers by itself, makes a socket only when the handshake is complete, and keeps it "
        "in the listener's queue until accept() takes it; its first send() or recv() shows which process works with it.",
        "RFC 9293 §3.5",
    ),
    "half_open": (
        "A SYN came and was answered, but the last ACK is missing: there is a small request and no socket yet, and if it is "
        "reset, given up, or dropped at a full queue, no tracepoint shows it ('tcptrace audit' has the kernel's counts).",
        "RFC 9293 §3.5",
    ),
    "older": ("The connection was open before tracing started; what came before was not seen.", ""),
    "restored": (
        "A checkpoint was restored into this socket, with the saved connection's numbers: no segment was exchanged.",
        "",
    ),
    "joined": ("What told of its beginning was lost; what follows is exact all the same.", ""),
    "stray": (
        "A segment that fits no connection here is answered with a reset, so that its sender gives up.",
        "RFC 9293 §3.5.2",
    ),
    "syn": (
        "SYN says with which number our bytes begin: unpredictable, so that old duplicates of an earlier connection on the "
        "same ports do not fit, and nobody can guess it.",
        ISN,
    ),
    "syn_received": ("The peer's SYN says with which number its bytes begin; SYN itself takes that number.", ISN),
    "syn_ack_received": (
        "The peer has our SYN: it acknowledges our number plus one, since SYN takes one, and gives its own random number.",
        "RFC 9293 §3.4, §3.5",
    ),
    "syn_ack_sent": (
        "Our answer to the SYN: their number plus one, since SYN takes one, and a random number of our own.",
        "RFC 9293 §3.4, §3.5",
    ),
    "ack_sent": (
        "The third segment proves to the peer that its number arrived; one ahead of it, since its SYN takes one.",
        "RFC 9293 §3.5",
    ),
    "ack_received": (
        "The client acknowledges our number: now it is proved that it is where it says it is, and the socket is made.",
        "RFC 9293 §3.5",
    ),
    "data_sent": (
        "Each byte has a number, the first one is 1, since SYN took 0; the peer acknowledges the next one that it expects, "
        "which is one above the last that it has.",
        "RFC 9293 §3.4",
    ),
    "data_received": (
        "We acknowledge the next number that we expect, which says that all before it are here: one above the last byte's, and "
        "the first byte's is 1, since SYN took 0.",
        "RFC 9293 §3.4",
    ),
    "acknowledged": ("The peer has everything below this number, so that we can forget it.", "RFC 9293 §3.4"),
    "retransmission.syn": (
        "No answer to SYN, which may be lost as well as its answer: it is retransmitted when the timer runs out.",
        "RFC 6298 §2, §5",
    ),
    "retransmission.syn.doubled": (
        "The timer has doubled since the last attempt, so that a network in trouble is not flooded.",
        "RFC 6298 §5",
    ),
    "retransmission.syn_ack": ("The last ACK has not come: our SYN-ACK may be lost, or the answer to it.", "RFC 6298 §5"),
    "retransmission.syn_ack.doubled": (
        "The timer has doubled since the last attempt, so that a network in trouble is not flooded.",
        "RFC 6298 §5",
    ),
    "retransmission.fast": (
        "The peer acknowledged what was sent later and not this, so that it must be lost: no need to wait for a timer.",
        "RFC 8985 §6, RFC 5681 §3.2",
    ),
    "retransmission.timeout": (
        "Nothing was acknowledged for the retransmission timeout, so that the window begins anew with one segment.",
        "RFC 6298 §5, RFC 5681 §3.1",
    ),
    "retransmission.timeout.doubled": (
        "The timeout has doubled since the last attempt, so that a network in trouble gets rest.",
        "RFC 6298 §5",
    ),
    "retransmission.tail_loss_probe": (
        "The last segments have no successor that could show their loss: after two round trips or a little more a probe "
        "asks the peer what it has, before the timeout.",
        "RFC 8985 §7.3",
    ),
    "retransmission.mtu": (
        "A router said that the segment is too large for the path, or a probe for a larger size was lost: the same bytes "
        "leave at once in smaller segments, and the window stays, since nothing was lost to congestion.",
        "RFC 1191 §3, RFC 8201 §4, RFC 4821 §7.6",
    ),
    "retransmission.fin": (
        "A FIN is numbered like a byte, and retransmitted like one until it is acknowledged.",
        "RFC 6298 §5",
    ),
    "retransmission.failed": ("The kernel wanted to retransmit it, but this machine did not let it out.", ""),
    "fin_sent": (
        "FIN says that we have no more to send; its number is one above the count of the bytes, since SYN took one, and it "
        "takes one itself, so that it can be acknowledged, and retransmitted.",
        "RFC 9293 §3.6",
    ),
    "fin_acknowledged": ("The peer has our FIN: one number ahead, since FIN takes one.", "RFC 9293 §3.4, §3.6"),
    "fin_acknowledged.fin_wait2": (
        "The peer has our FIN: one number ahead, since FIN takes one; it may go on sending until its own.",
        "RFC 9293 §3.6.1",
    ),
    "fin_received": (
        "The peer has no more to send; its FIN has the number behind its last byte, and takes it.",
        "RFC 9293 §3.6",
    ),
    "fin_received.close_wait": (
        "The peer has no more to send, and recv() returns 0 when all is read; we may go on sending until we close too.",
        "RFC 9293 §3.6.1",
    ),
    "fin_received.closing": (
        "Both sides sent their FIN before the other's came: each waits for its acknowledgement.",
        "RFC 9293 §3.6",
    ),
    "fin_answered": ("We acknowledge the FIN with one number ahead; without this it would be retransmitted.", "RFC 9293 §3.6"),
    "reset_received": (
        "The peer knows no such connection, refuses it, or has aborted: nothing more will come, nothing is acknowledged.",
        "RFC 9293 §3.5.3",
    ),
    "reset_sent": (
        "We end it at once; what is on its way is thrown away, and the peer's application gets an error.",
        "RFC 9293 §3.5.2",
    ),
    "taken": ("Who calls send() or recv() has got the socket from accept(); no tracepoint says when.", ""),
    "call.success": ("The first call that moved data this way: who really works with the connection, and by which number.", ""),
    "call.end": ("0 bytes mean that the peer's FIN was reached: all that it sent has been read.", "RFC 9293 §3.6"),
    "call.error": (
        "What the application is told; a call before it may have succeeded, since send() only fills a buffer.",
        "RFC 9293 §3.9.1",
    ),
    "segment": (
        "Its acknowledgement lets the congestion window grow, and its window says how much room the peer has.",
        "RFC 5681 §3.1, RFC 9293 §3.8.6",
    ),
    "failed.refused": (
        "Nobody listens there, or a firewall says so: a reset or an ICMP message answered our SYN, and connect() fails.",
        "RFC 9293 §3.5.2",
    ),
    "failed.timed_out": (
        "The kernel gave up after the last retransmission of the SYN: connect() fails, and nobody knows whether it arrived.",
        "RFC 9293 §3.8.3",
    ),
    "failed.canceled": (
        "The application closed its socket before there was an answer: its own patience was shorter.",
        "RFC 9293 §3.10.4",
    ),
    "failed.canceled.no_syn": (
        "The application closed its socket before its first send(): the SYN waits for it with TCP_FASTOPEN_CONNECT.",
        "",
    ),
    "failed.other.no_syn": (
        "connect() failed before a SYN was sent, though it had found a local port: no route from it, say.",
        "",
    ),
    "failed.no_port": ("Every local port towards this destination is in use, so that no SYN could be sent.", ""),
    "failed": ("No connection came about; connect() fails with this error.", "RFC 9293 §3.8.3"),
    "closed.normal": ("Our FIN was acknowledged, and with it every byte that we sent; nothing was cut off.", "RFC 9293 §3.6"),
    "closed.reset_received": (
        "The peer has aborted: what was not read yet may be lost, and the next call fails.",
        "RFC 9293 §3.5.3",
    ),
    "closed.reset_sent": (
        "We have aborted instead of closing: unread data, or an application that wanted it: a FIN "
        "would promise that all was read.",
        "RFC 9293 §3.6, RFC 2525 §2.17",
    ),
    "closed.timed_out": (
        "The kernel gave up: what was not acknowledged may or may not have arrived, and the next call fails with ETIMEDOUT.",
        "RFC 9293 §3.8.3",
    ),
    "closed.other": (
        "Neither side has reset it, and not all was acknowledged: an error of the network, or a socket that was dropped.",
        "RFC 9293 §3.9.1",
    ),
    "closed": ("The connection is over.", "RFC 9293 §3.6"),
    "fin_awaited": (
        "The process has closed its socket, so that a small object of the kernel's waits for the peer's FIN in its place.",
        "RFC 9293 §3.6",
    ),
    "closed.normal.time_wait": (
        "Both FINs are acknowledged: who closes first waits, so that a lost last ACK can be repeated for the peer, and old "
        "duplicates die out before the same ports are used again; Linux reports CLOSE here, as a small timewait object takes "
        "the socket's place.",
        "RFC 9293 §3.6",
    ),
    "closed.normal.orphan": (
        "The process has closed its socket, and Linux reports CLOSE; the connection is still in FIN_WAIT2, in a small object.",
        "RFC 9293 §3.6",
    ),
    "time_wait": ("The list of sockets says how long the object in the socket's place stays: at first 60 s.", ""),
    "time_wait.time_wait": (
        "Linux reported CLOSE before, as a small object has taken the socket's place: who closes first waits, so that a lost "
        "last ACK can be repeated for the peer, and old duplicates die out before the same ports are used again.",
        "RFC 9293 §3.6",
    ),
    "time_wait_over": (
        "It is not in the list of sockets any more: 60 s are over, or a new connection on the same ports took its place.",
        "RFC 9293 §3.6",
    ),
    "paired": (
        "The addresses, the ports and both initial sequence numbers of one end are those of the other: a segment of which both "
        "tell is drawn once, and each sentence is said by the end that it names.",
        "",
    ),
    "arrived": ("The segment was drawn when it left; here the other end takes it.", ""),
    "left": ("The segment was drawn when it arrived; here its sender tells of it.", ""),
    "gap": ("The ring was full: this state is right, and what led to it is not known.", ""),
}


def explanation(step: Step) -> str:
    """Return the sentence for a step and its source, "" for one that needs none."""
    sentence, source = EXPLANATIONS.get(_key(step)) or EXPLANATIONS.get(step.kind, ("", ""))
    return f"{sentence} ({source})" if source else sentence


def _key(step: Step) -> str:
    facts = step.facts
    if step.kind == "retransmission":
        key = f"retransmission.{facts['kind']}"
        doubled = f"{key}.doubled" if facts["doubled"] else key
        return "retransmission.failed" if facts["error"] else doubled if doubled in EXPLANATIONS else key
    if step.kind == "call":
        end = "end" if facts["call"] == "receive" and not facts["result"] else "success"
        return f"call.{'error' if facts['result'] < 0 else end}"
    if step.kind == "failed" and facts["no_syn"] and facts["reason"] in {"canceled", "other"}:
        return f"failed.{facts['reason']}.no_syn"
    if step.kind == "closed" and facts["time_wait"] and step.entered != "close":
        return f"closed.{facts['reason']}.{step.entered or 'orphan'}"
    return f"{step.kind}.{facts.get('reason') or step.entered}"
