"""What `follow` asks the kernel for while it runs, it asks unprivileged and without a thread that takes snapshots."""

from __future__ import annotations

import json
import pwd
import subprocess
import sys

import pytest

from tests.kernel.until import PATIENCE
from tests.needs import ROOT
from tracer.model.tcp import STATE

pytestmark = pytest.mark.kernel

FOLLOWER = """
import json, os, socket, sys, threading
from tests.kernel.until import until
from tracer.commands.session import open_kernel
from tracer.kernel.filters import Filters
from tracer.kernel.launch import Loading
from tracer.kernel.settings import Settings
from tracer.model.tcp import KIND, ROLE

port = int(sys.argv[1])
begin, go = os.pipe()
if not os.fork():  # what follows may not connect any more
    os.read(begin, 1)
    with socket.create_server(("127.0.0.1", port)) as listener:
        client = socket.create_connection(("127.0.0.1", port))
        server = listener.accept()[0]
        client.close()
        server.close()
    os._exit(0)
source = open_kernel(Loading(Settings(Filters(ports=(port,)), follow=True)), None)

def client_closes():
    events = source.read().events
    return list(events[(events["kind"] == KIND["close"]) & (events["role"] == ROLE["client"])])

os.write(go, b"x")
(end,) = until(client_closes, "the client has ended")
left = source.namespaces.time_wait(end)
source.close()
print(json.dumps([os.getuid(), threading.active_count(), left.state, left.seconds]))
"""


def test_the_rest_of_time_wait_is_found_unprivileged_and_without_snapshots(port: int) -> None:
    command = [sys.executable, "-c", FOLLOWER, str(port)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    uid, threads, state, seconds = json.loads(done.stdout)
    assert (uid, threads, state) == (pwd.getpwnam("nobody").pw_uid, 1, STATE["time_wait"])
    assert 58 <= seconds <= 60.1
