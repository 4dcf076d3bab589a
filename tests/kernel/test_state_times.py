"""The time in each state, against what a capture says of the segments that begin and end it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.kernel.capture import ACK, FIN, SYN, Frame, measured
from tests.kernel.path import DELAY, SERVER
from tests.kernel.scene import ROLES, Scene, receive, scene
from tests.kernel.traffic import connect, listening
from tests.kernel.watching import Watching

pytestmark = pytest.mark.needs("tcpdump", "tshark")


def half_close(here: Scene, family: int) -> int:
    """Have the client end first, and the server answer at leisure; return the client's port."""
    with listening(here.route.server, SERVER[family], here.port) as listener:
        client = connect(here.route.client, SERVER[family], here.port)
        with client, listener.accept()[0] as server:
            client_port: int = client.getsockname()[1]
            client.sendall(bytes(23))
            client.shutdown(socket.SHUT_WR)
            receive(server, 23)
            assert server.recv(1) == b""
            for _ in range(3):  # each answer takes a way there and back
                server.sendall(bytes(2300))
                receive(client, 2300)
            server.close()
            assert client.recv(1) == b""
    here.wait_until_over()
    return client_port


def moments(frames: list[Frame], client_port: int) -> dict[str, int]:
    """Return when each step was seen at one device, in nanoseconds."""
    syn = next(f for f in frames if f.has(SYN))
    syn_ack = next(f for f in frames if f.has(SYN, ACK))
    fin = next(f for f in frames if f.has(FIN) and f.sport == client_port)
    fin_ack = next(f for f in frames if f.sport != client_port and f.acknowledgment == fin.end)
    last_fin = next(f for f in frames if f.has(FIN) and f.sport != client_port)
    last_ack = next(f for f in frames if f.sport == client_port and f.acknowledgment == last_fin.end)
    open_ack = next(f for f in frames if f.sport == client_port and f.has(ACK))
    found = {"syn": syn, "syn_ack": syn_ack, "ack": open_ack, "fin": fin, "fin_ack": fin_ack}
    return {name: frame.time_ns for name, frame in {**found, "last_fin": last_fin, "last_ack": last_ack}.items()}


STATES = {
    "client": {
        "syn_sent": ("syn", "syn_ack"),
        "established": ("syn_ack", "fin"),
        "fin_wait1": ("fin", "fin_ack"),
        "fin_wait2": ("fin_ack", "last_fin"),
    },
    "server": {
        "syn_recv": ("ack", "ack"),
        "established": ("ack", "fin"),
        "close_wait": ("fin", "last_fin"),
        "last_ack": ("last_fin", "last_ack"),
    },
}


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("delay", [pytest.param(0, id="at once"), pytest.param(DELAY, id="delayed")])
def test_the_time_in_each_state_is_what_the_wire_says(
    watch: Watching, service: int, tmp_path: Path, family: int, delay: float
) -> None:
    with scene(watch, service, tmp_path, delay) as here:
        client_port = half_close(here, family)
        frames = here.frames(client_port)
    for role in ROLES:
        end, seen = watch.one(client_port, "close", role), moments(frames[role], client_port)
        truth = {state: (seen[last] - seen[first]) / 1e9 for state, (first, last) in STATES[role].items()}
        print(role, {state: f"tcptrace {end['states'][state]:.6f}, tshark {truth[state]:.6f}" for state in truth})
        assert end["states"] == measured(truth)
        assert end["duration_seconds"] == measured(sum(truth.values()))
        sent = sum((frame.sport == client_port) == (role == "client") for frame in frames[role])
        of_a_request = role == "server"  # the SYN-ACK is not the socket's yet
        segments = (end["sent_segments"] + of_a_request, end["received_segments"])
        assert segments == (sent, len(frames[role]) - sent)
        assert 2 * delay <= end["min_rtt_seconds"] < 2 * delay + 0.02
        assert end["min_rtt_seconds"] <= end["srtt_seconds"]
