"""Connections out of real cgroups, with the paths that runtimes make: the label, the metric and the events name them."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernel.cgroups import cgroups
from tests.kernel.net import Namespace
from tests.kernel.tracing import Scrape, tracing
from tests.kernel.traffic import listening
from tests.kernel.until import PATIENCE, until

pytestmark = pytest.mark.needs_kernel("cgroups")

ADDRESS = "127.0.0.1"
POD = "pod7d3f2b1c_0000_1111_2222_333344445555"

CLIENT = """
import os, socket, sys
with open(sys.argv[1] + "/cgroup.procs", "w") as procs: procs.write(str(os.getpid()))
socket.create_connection(("127.0.0.1", int(sys.argv[2])), timeout=30).close()
"""


def connect_from(side: Namespace, place: Path, port: int) -> None:
    """Have a process of that cgroup open a connection, close it, and end."""
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(side.command(sys.executable, "-c", CLIENT, str(place), str(port)), check=True, timeout=PATIENCE)


def test_containers_in_quick_succession_each_have_their_name(side: Namespace) -> None:
    """They are more than walks over all cgroups could find one by one, of which there are many."""
    ids = [secrets.token_hex(32) for _ in range(13)]
    with cgroups() as top, listening(side, ADDRESS) as listener:
        port = listener.getsockname()[1]
        for number in range(400):
            (top / f"other{number}").mkdir()
        with tracing("--label", "container", "--netns", "own", "--port", str(port), side=side) as tracer:
            for identity in ids:
                connect_from(side, top / f"docker-{identity}.scope", port)
                listener.accept()[0].close()
            until(lambda: tracer.scrape().value("handshakes_total", role="client") == len(ids), "all were counted")
            scrape = tracer.scrape()
    assert [scrape.value("handshakes_total", role="client", container=identity[:12]) for identity in ids] == [1] * len(ids)


def info(scrape: Scrape, container: str) -> dict[str, str]:
    """Return the labels of tcptrace_container_info for a container; there is one."""
    found = [dict(labels) for name, labels in scrape.samples if name == "tcptrace_container_info"]
    (one,) = (labels for labels in found if labels["container"] == container)
    return one


def test_containers_and_units_are_named_with_their_whole_ids(side: Namespace) -> None:
    docker, nested = secrets.token_hex(32), secrets.token_hex(32)
    unit = f"tcptrace-test-{os.getpid()}.service"
    with cgroups() as top, listening(side, ADDRESS) as listener:
        port = listener.getsockname()[1]
        places = [
            top / f"system.slice/docker-{docker}.scope",
            top / f"docker-{docker}.scope/kubelet.slice/kubelet-kubepods-{POD}.slice/cri-containerd-{nested}.scope",
            top / "system.slice" / unit,
        ]
        with tracing("--label", "container", "--netns", "own", "--port", str(port), side=side) as tracer:
            for place in places:
                connect_from(side, place, port)
                listener.accept()[0].close()
            until(lambda: tracer.scrape().value("handshakes_total", role="client") == len(places), "all were counted")
            scrape = tracer.scrape()
    for name in (docker[:12], nested[:12], unit):
        assert scrape.value("handshakes_total", role="client", container=name) == 1
    uid = POD.removeprefix("pod").replace("_", "-")
    assert info(scrape, docker[:12]) == {"container": docker[:12], "container_id": docker, "pod_uid": "", "unit": ""}
    assert info(scrape, nested[:12]) == {"container": nested[:12], "container_id": nested, "pod_uid": uid, "unit": ""}
    assert info(scrape, unit) == {"container": unit, "container_id": "", "pod_uid": "", "unit": unit}
