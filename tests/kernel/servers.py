"""Servers whose processes are arranged in the ways that servers are: `python -I servers.py LAYOUT ADDRESS PORT`.

Each connection is answered with the pid of the process that serves it, so that the client knows the truth; it then waits for
the client's end, and closes. A line `ready` says that the layout stands. The end of standard input ends all of it.
"""

from __future__ import annotations

import array
import ctypes
import os
import platform
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

IP_TRANSPARENT = 19
CLONE_FILES = 0x400
CLONE = {"x86_64": 56, "aarch64": 220}
"""The system call's number, by machine."""

POOL = 3
"""Threads of a pool."""

BECOMES = "becomes"
"""Instead of a layout, then descriptors: of the socket to serve on, and of where to say that it stands."""

children: list[int] = []
kept: list[socket.socket] = []
standing, stands = os.pipe()
"""A byte comes for each server that stands."""


def listener(address: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family, reuse_port=reuse_port)


def serve(listening: socket.socket, name: str = "", wait: Callable[[], object] = bool) -> None:
    if name:
        rename(name)
    os.write(stands, b".")
    while True:
        wait()
        connection, _ = listening.accept()
        connection.sendall(str(os.getpid()).encode())
        connection.recv(1)
        connection.close()


def child(work: Callable[[], None]) -> int:
    """Run work in a process of its own, which is ended with the others."""
    pid = os.fork()
    if not pid:
        work()
        os._exit(0)
    children.append(pid)
    return pid


def rename(name: str) -> None:
    Path("/proc/self/comm").write_text(name, encoding="ascii")


def single(address: str, port: int) -> None:
    """One process, which listens and serves."""
    child(lambda: serve(listener(address, port)))


def two_sockets(address: str, port: int) -> None:
    """Two processes that share a port, each with a socket of its own (SO_REUSEPORT)."""
    for _ in range(2):
        child(lambda: serve(listener(address, port, reuse_port=True)))


def threads(address: str, port: int) -> None:
    """One process whose threads wait in accept(), and have names of their own."""

    def work() -> None:
        listening = listener(address, port)
        for number in range(3):
            threading.Thread(target=worker, args=(listening, number), daemon=True).start()
        signal.pause()

    def worker(listening: socket.socket, number: int) -> None:
        Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text(f"worker-{number}", encoding="ascii")
        serve(listening)

    child(work)


def polling(address: str, port: int) -> None:
    """One process, without threads, that waits in poll(): as select() it holds the socket once more, which epoll does not."""

    def work() -> None:
        listening = listener(address, port)
        waiting = select.poll()
        waiting.register(listening, select.POLLIN)
        serve(listening, wait=waiting.poll)

    child(work)


def becoming(address: str, port: int) -> None:
    """A process that listens, and then becomes the program that serves, as below systemd-socket-activate."""

    def work() -> None:
        rename("the-starter")
        listening = listener(address, port)
        for each in (listening.fileno(), stands):
            os.set_inheritable(each, True)
        os.execv(sys.executable, [sys.executable, "-I", __file__, BECOMES, str(listening.fileno()), str(stands)])

    child(work)


def prefork(address: str, port: int) -> None:
    """A master that listens, and two workers that serve."""
    kept.append(listening := listener(address, port))
    rename("the-master")
    for _ in range(2):
        child(lambda: serve(listening, "the-worker"))


def activated(address: str, port: int) -> None:
    """A process that listens for another one, and keeps the socket, as systemd does."""
    kept.append(listening := listener(address, port))
    rename("the-manager")
    child(lambda: serve(listening, "the-service"))


def daemon(address: str, port: int) -> None:
    """A process that listens, forks and ends; its child serves."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        listening = listener(address, port)
        child(lambda: serve(listening))
        os.write(write, str(children[-1]).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    children.append(int(os.read(read, 16)))


def handed_over(address: str, port: int) -> None:
    """A process that listens, gives the socket to another one (SCM_RIGHTS), closes it and lives on, as at a reload."""
    ours, theirs = socket.socketpair()

    def new() -> None:
        ours.close()
        _, ancillary, _, _ = theirs.recvmsg(1, socket.CMSG_SPACE(4))
        (fd,) = array.array("i", ancillary[0][2])
        theirs.recv(1)
        serve(socket.socket(fileno=fd))

    def old() -> None:
        theirs.close()
        listening = listener(address, port)
        socket.send_fds(ours, [b"x"], [listening.fileno()])
        listening.close()
        ours.send(b"closed")
        signal.pause()

    child(new)
    child(old)


def shared(address: str, port: int) -> None:
    """A process with threads that gives its socket to another one, and keeps it without serving any more."""
    ours, theirs = socket.socketpair()

    def new() -> None:
        _, fds, _, _ = socket.recv_fds(theirs, 1, 1)
        serve(socket.socket(fileno=fds[0]), "the-successor")

    def old() -> None:
        rename("the-old-one")
        listening = listener(address, port)
        threading.Thread(target=signal.pause).start()
        socket.send_fds(ours, [b"x"], [listening.fileno()])
        signal.pause()

    child(new)
    child(old)


def table(address: str, port: int) -> None:
    """Two processes that share their table of descriptors; one listens, the other serves."""
    kept.append(listening := listener(address, port))
    rename("the-manager")
    pid = ctypes.CDLL(None).syscall(CLONE[platform.machine()], CLONE_FILES | signal.SIGCHLD, 0, 0, 0, 0)
    if not pid:
        serve(listening, "the-successor")
    children.append(pid)


def pool(address: str, port: int) -> None:
    """A process with threads that serve a connection each, and then gives the socket to the threads of another one."""
    ours, theirs = socket.socketpair()

    def once(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.sendall(str(os.getpid()).encode())
            connection.recv(1)

    def old() -> None:
        listening = listener(address, port)
        threads = [threading.Thread(target=once, args=(listening,)) for _ in range(POOL)]
        for thread in threads:
            thread.start()
        os.write(stands, b".")
        for thread in threads:
            thread.join()
        threading.Thread(target=signal.pause).start()
        socket.send_fds(ours, [b"x"], [listening.fileno()])
        signal.pause()

    def new() -> None:
        _, fds, _, _ = socket.recv_fds(theirs, 1, 1)
        listening = socket.socket(fileno=fds[0])
        for _ in range(POOL):
            threading.Thread(target=serve, args=(listening,), daemon=True).start()
        signal.pause()

    child(old)
    child(new)


def intercepted(address: str, port: int) -> None:
    """A decoy that listens on the port, and a proxy on the next one that a firewall gives the connections to (TPROXY)."""
    child(lambda: serve(listener(address, port)))

    def proxy() -> None:
        listening = socket.socket()
        listening.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
        listening.bind((address, port + 1))
        listening.listen()
        serve(listening)

    child(proxy)


ALONE = (single, two_sockets, threads, polling, becoming)
SEVERAL = (prefork, activated, daemon, handed_over, shared, table, pool, intercepted)
LAYOUTS = {each.__name__: each for each in ALONE + SEVERAL}
SERVERS = {"intercepted": 2, "two_sockets": 2, "threads": 3, "prefork": 2}

if __name__ == "__main__":
    if sys.argv[1] == BECOMES:
        stands = int(sys.argv[3])
        serve(socket.socket(fileno=int(sys.argv[2])), "the-service")
    LAYOUTS[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
    for _ in range(SERVERS.get(sys.argv[1], 1)):
        os.read(standing, 1)
    print("ready", *children, flush=True)
    sys.stdin.read()
    for pid in children:
        os.kill(pid, signal.SIGKILL)
