"""Both ends of a connection on this machine, joined: whatever the batches are, each segment is told once."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from tests.unit.script import Left, play
from tracer.model.follow.bothends import segment_of
from tracer.model.follow.followed import Followed
from tracer.model.follow.steps import Step

ENDS = """
c = client 10.0.0.1:40312 > 10.0.0.2:443 curl/331 fd=5 isn=1000 peer={peer}
s = server 10.0.0.2:443 < 10.0.0.1:40312 nginx/80 isn=5000 peer=1000
+0.000000  c  state close>syn_sent
+0.000033  c  state syn_sent>established
+0.000033  c  handshake 0.000033
+0.000040  s  state listen>syn_recv
+0.000041  s  state syn_recv>established
+0.000041  s  handshake 0.000020
+0.000100  c  call send 1000     sent=1000 unacked=0 out=1
+0.000120  s  call receive 1000  got=1000 in=1
+0.000200  c  call send 500      sent=1500 unacked=0 out=2
+0.000300  c  state established>fin_wait1
+0.000310  s  state established>close_wait  got=1500 in=2 peerfin=1
+0.000320  c  state fin_wait1>fin_wait2  fin=acked
+0.000400  s  state close_wait>last_ack fin=sent
+0.000420  c  state fin_wait2>close peerfin=1
+0.000420  c  close fin_wait2
+0.000430  s  state last_ack>close fin=acked
+0.000430  s  close last_ack
"""


def steps(size: int, peer: int = 5000) -> list[Step]:
    """Return the steps of ENDS in batches of so many records."""
    records = [item for item in play(ENDS.format(peer=peer)) if not isinstance(item, Left)]
    followed = Followed({})
    return [
        step for first in range(0, len(records), size) for step in followed.add(np.concatenate(records[first : first + size]))
    ]


@pytest.mark.parametrize("size", range(1, 18))
def test_each_segment_is_told_once_behind_the_joining(size: int) -> None:
    told = steps(size)
    joined = [step for step in told if step.joined]
    arrows = Counter(segment_of(step) for step in joined if step.way and segment_of(step))
    assert set(arrows.values()) == {1}
    assert arrows["fin", "client"] == arrows["fin", "server"] == 1
    assert sum(step.payload for step in joined if step.who.role == "client" and step.way == "out") == 1500
    assert sum(step.payload for step in joined) == 1500
    assert {step.joined for step in joined} == {1}


@pytest.mark.parametrize("size", range(1, 18))
def test_both_ends_enter_all_of_their_states(size: int) -> None:
    entered: dict[str, list[str]] = {"client": [], "server": []}
    for step in steps(size):
        entered[step.who.role].append(step.entered)
        entered["server" if step.who.role == "client" else "client"].append(step.there)
    client, server = ([state for state in entered[role] if state] for role in ("client", "server"))
    assert client == ["syn_sent", "established", "fin_wait1", "fin_wait2", "close"]
    assert server == ["syn_recv", "established", "close_wait", "last_ack", "close"]


def test_the_clock_is_the_clients() -> None:
    last = steps(17)[-1]
    assert (last.who.role, last.entered) == ("server", "close")
    assert last.seconds == pytest.approx(0.00043)


@pytest.mark.parametrize("size", [1, 17])
def test_other_initial_numbers_are_another_connection(size: int) -> None:
    assert not any(step.joined for step in steps(size, peer=5001))
