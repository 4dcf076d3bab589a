"""What only `follow` needs is not told, and not even looked at, for anybody else."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernel.following import POSITIONS, Following, following
from tests.kernel.net import SERVER as NEAR, Link
from tests.kernel.traffic import connect, listening
from tests.kernel.until import PATIENCE, until
from tests.needs import shown
from tracer.model.tcp import KIND

pytestmark = [pytest.mark.kernel, pytest.mark.needs("nft")]


@pytest.mark.parametrize("follow_it", [False, True], ids=["not followed", "followed"])
def test_nothing_of_this_leaves_unless_it_is_asked_for(link: Link, port: int, follow_it: bool) -> None:
    link.server.drop(f"tcp dport {port} tcp flags & (syn|ack) == ack")  # the SYN-ACK is retransmitted
    with (
        following(port, follow=follow_it) as follow,
        listening(link.server, NEAR[4], port) as listener,
        connect(link.client, NEAR[4], port) as client,
    ):
        client.settimeout(PATIENCE)
        server = listener.accept()[0]
        client.sendall(b"x")
        server.recv(1)
        until(lambda: KIND["retransmit"] in follow.records["kind"], "the SYN-ACK is retransmitted")
        server.close()
        client.close()
        here = client_port(follow)
        follow.first(here, "close", "client")
        follow.first(here, "close", "server")
        records = follow.records
    told = {"state", "call"} & {name for name, number in KIND.items() if number in records["kind"]}
    assert told == ({"state", shown("calls", "call")} - {None} if follow_it else set())
    again = records[(records["kind"] == KIND["retransmit"]) & (records["connection"] == 0)]
    assert set(again["descriptor"]) == {-1}
    if not follow_it:
        assert set(records["descriptor"]) == {-1}
        assert all(not records[name].any() for name in POSITIONS)


def client_port(follow: Following) -> int:
    """Return the port of the only client."""
    records = follow.records
    (found,) = np.unique(records["local_port"][(records["role"] == 1) & (records["local_port"] > 0)])
    return int(found)
