"""What each step of a connection's life says in words, beside its arrow. Pure: a step in, a text out, of any length."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tracer.model.follow.bothends import OTHER
from tracer.model.follow.steps import BEGINNINGS, Identity, Step
from tracer.outputs.units import bytes_text, error_name, time_text

TIMERS = {
    "syn": "RTO",
    "syn_ack": "RTO, or another SYN",
    "fast": "duplicate ACKs or RACK, no timer",
    "timeout": "RTO",
    "tail_loss_probe": "tail-loss-probe timer",
    "fin": "RTO or tail-loss-probe timer",
    "mtu": "too large for the path, no timer",
}
"""What led to a retransmission, by its kind."""

ARROWS = {"client": ">", "server": "<"}


BY_NAME = (
    ("we close", "{us} closes"),
    ("we only receive", "{us} only receives"),
    ("we may still send", "{us} may still send"),
    ("we reset", "{us} resets"),
    ("we first", "{us} first"),
    ("ack ours", "ack {us}'s"),
    ("our SYN", "{us}'s SYN"),
    ("its FIN", "{peer}'s FIN"),
    ("the peer", "{peer}"),
)
"""What is said of us and of the peer, and how it is said where both are in one drawing."""


def words(step: Step) -> str:
    """Return what a step says, with the time in the state that it leaves."""
    said = _WORDS[step.kind](step)
    if step.joined and step.kind not in {*BEGINNINGS, "call"}:  # which have names of processes
        said = _by_name(said, step.who.role)
    return "; ".join(part for part in (said, _later(step), _left(step)) if part)


def _by_name(text: str, role: str) -> str:
    us, peer = f"the {role}", f"the {OTHER[role]}"
    for ours, named in BY_NAME:
        text = text.replace(ours, named.format(us=us, peer=peer))
    return text


def _later(step: Step) -> str:
    return "" if step.later is None else f"{time_text(step.later)} on its way"


def owner(who: Identity) -> str:
    """Return `process/pid`, or that it is not known."""
    return f"{who.process}/{who.pid}" if who.pid else "an unknown process"


def ends(who: Identity) -> str:
    """Return both ends, the arrow from client to server; a port that is not known yet is left out."""
    texts = (who.local_address, who.local_port), (who.remote_address, who.remote_port)
    local, remote = (_end(address, port, who.family) for address, port in texts)
    return f"{local} {ARROWS.get(who.role, '-')} {remote}"


def _end(address: str, port: int, family: int) -> str:
    if family == 4 and address == "::":
        address = "0.0.0.0"  # noqa: S104 - shown, not bound
    text = f"[{address}]" if family == 6 and port else address
    return f"{text}:{port}" if port else text


def _left(step: Step) -> str:
    if not step.left or step.spent is None:
        return ""
    return f"{time_text(step.spent)} in {step.left.upper()}"


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _number(name: str, value: int | None, note: str = "") -> str:
    return "" if value is None else f"{name} {value}{note}"


def _range(step: Step) -> str:
    return "" if step.sequence is None else f"seq {step.sequence}:{step.end}"


def _count(step: Step) -> str:
    if not step.segments:
        return ""
    return "1 segment" if step.segments == 1 else f"{step.segments} segments"


def _opened(step: Step) -> str:
    descriptor = f", descriptor {step.who.descriptor}" if step.who.descriptor >= 0 else ""
    return f"{owner(step.who)} connects{descriptor}: {ends(step.who)}"


def _listening(step: Step) -> str:
    who = step.who
    descriptor = f", descriptor {who.descriptor}" if who.descriptor >= 0 else ""
    place = _end(who.local_address, who.local_port, who.family)
    chosen = "" if who.local_port else "the kernel chooses the port"
    return _joined(f"{owner(who)} listens{descriptor}: {place}", chosen, f"listen() with a backlog of {step.facts['backlog']}")


def _syn(step: Step) -> str:
    return _joined(f"port {step.who.local_port}", _number("seq", step.initial))


def _syn_received(step: Step) -> str:
    return _joined(_number("seq", step.initial), "both open at once" if step.left == "syn_sent" else "")


def _syn_ack(step: Step) -> str:
    whose = "ours" if step.way == "in" else "the peer's"
    return _joined(_number("seq", step.initial), f"ack {whose}+1", _fast_open(step))


def _ack_received(step: Step) -> str:
    peers = _number("the peer's SYN was", step.facts.get("peer_initial"))
    return _joined("seq 1, ack 1 = our SYN+1", peers, _fast_open(step))


def _fast_open(step: Step) -> str:
    return "fast open" if step.facts.get("fast_open") else ""


def _data_sent(step: Step) -> str:
    acked = "all acked" if step.acknowledgement == step.end else f"acked to {step.acknowledgement}"
    return _joined(_range(step), _count(step), acked)


def _data_received(step: Step) -> str:
    return _joined(_range(step), _count(step), _number("ack", step.acknowledgement))


def _retransmission(step: Step) -> str:
    facts = step.facts
    which = _number("seq", step.sequence if step.initial is None else step.initial)
    if facts["error"]:
        return _joined(which, f"never left: {error_name(facts['error'])}")
    count = f"{facts['segments']} segments" if facts["segments"] > 1 else ""
    interval = "" if facts["interval"] is None else f", {time_text(facts['interval'])} after the last"
    timer = TIMERS.get(facts["kind"], "cause unknown")
    return _joined(which, count, f"attempt {facts['attempt']}") + f": {timer}{interval}"


def _fin_sent(step: Step) -> str:
    order = {"established": "we close first", "close_wait": "we close too"}.get(step.left, "")
    return _joined(_number("seq", step.sequence), _number("ack", step.acknowledgement), order)


def _fin_acknowledged(step: Step) -> str:
    half = "half-closed: we only receive" if step.entered == "fin_wait2" else ""
    return _joined(_number("ack", step.acknowledgement, " = FIN+1"), half)


def _fin_received(step: Step) -> str:
    if step.inferred:
        return "must have come before TIME_WAIT"
    order = {"close_wait": "the peer closes first", "closing": "both close at once"}.get(step.entered, "")
    half = "half-closed: we may still send" if step.entered == "close_wait" else ""
    return _joined("" if step.way else "the FIN", _number("seq", step.sequence), order, half)


def _call(step: Step) -> str:
    result = step.facts["result"]
    got = f"= {result}" if result >= 0 else f"fails: {error_name(-result)}"
    name = {"send": "send()", "receive": "recv()"}.get(step.facts["call"], "a call")
    end = ", end of stream" if name == "recv()" and not result else ""
    descriptor = f" on descriptor {step.who.descriptor}" if step.who.descriptor >= 0 else ""
    return f"{owner(step.who)}{descriptor}: {name} {got}{end}"


def _reason(step: Step) -> str:
    return str(step.facts["reason"]).replace("_", " ")


def _failed(step: Step) -> str:
    error = step.facts["error"]
    got = f", the application gets {error_name(error)}" if error else ""
    return f"failed: {_reason(step)}{got}"


def _closed(step: Step) -> str:
    facts = step.facts
    error = f" ({error_name(facts['error'])})" if facts["error"] else ""
    lost = f", {facts['unacknowledged']} B of it never acknowledged" if facts["unacknowledged"] else ""
    again = f", {facts['retransmitted']} retransmitted" if facts["retransmitted"] else ""
    first = {"local": ", we first", "remote": ", the peer first", "both": ", both at once"}.get(facts["closed_first"], "")
    return f"closed: {_reason(step)}{error}{first}; sent {facts['sent']} B{lost}, received {facts['received']} B{again}"


def _segment(step: Step) -> str:
    facts = step.facts
    threshold, srtt = facts["slow_start_threshold"], facts["srtt_seconds"]
    return _joined(
        _range(step) if step.payload else _number("seq", step.sequence),
        _number("ack", step.acknowledgement),
        f"cwnd {facts['congestion_window']}",
        f"ssthresh {'-' if threshold is None else threshold}",
        f"srtt {time_text(srtt)}",
        f"windows {bytes_text(facts['send_window'])} out, {bytes_text(facts['receive_window'])} in",
    )


_WORDS: Mapping[str, Callable[[Step], str]] = {
    "listening": _listening,
    "opened": _opened,
    "accepted": lambda step: f"{owner(step.who)} is asked to connect: {ends(step.who)}",
    "half_open": lambda step: f"a request, not complete: {ends(step.who)}",
    "older": lambda step: f"{owner(step.who)}, an existing connection: {ends(step.who)}",
    "restored": lambda step: f"restored by TCP_REPAIR: {ends(step.who)}",
    "joined": lambda step: f"{owner(step.who)}, its beginning was missed: {ends(step.who)}",
    "stray": lambda step: f"belongs to no connection: {ends(step.who)}",
    "syn": _syn,
    "syn_received": _syn_received,
    "syn_ack_received": _syn_ack,
    "syn_ack_sent": _syn_ack,
    "ack_sent": lambda _: "seq 1, ack 1 = the peer's SYN+1",
    "ack_received": _ack_received,
    "data_sent": _data_sent,
    "data_received": _data_received,
    "acknowledged": lambda step: f"ack {step.acknowledgement}",
    "retransmission": _retransmission,
    "fin_sent": _fin_sent,
    "fin_acknowledged": _fin_acknowledged,
    "fin_received": _fin_received,
    "fin_answered": lambda step: _number("ack", step.acknowledgement, " = its FIN+1"),
    "reset_received": lambda _: "reset by the peer",
    "reset_sent": lambda step: f"we reset: {step.facts['cause'] or 'cause not told'}",
    "taken": lambda _: "accept() has returned it before this",
    "call": _call,
    "segment": _segment,
    "failed": _failed,
    "closed": _closed,
    "measured": lambda _: "",
    "fin_awaited": lambda step: f"the kernel alone waits for the peer's FIN, {time_text(step.facts['remaining'])} left",
    "time_wait": lambda step: f"{time_text(step.facts['remaining'])} left in TIME_WAIT",
    "time_wait_over": lambda _: "the small object is gone, too",
    "gap": lambda _: "events were lost before this",
    "paired": lambda _: "both ends are here: the client's state on the left, the server's on the right, time from the SYN",
    "arrived": lambda step: f"{','.join(step.bits)} has come",
    "left": lambda step: f"{','.join(step.bits)} has left",
}
