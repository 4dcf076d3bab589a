"""Several hosts on one machine: a network namespace each, and one in the middle that reaches all of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.kernel.net import Namespace, namespace
from tests.kernel.tracing import Tracing, tracing
from tests.kernel.until import until
from tests.needs import tool

PORT = 19293


@dataclass(frozen=True)
class Host:
    """A host with a tracer that serves at its default port. instance: the label that Prometheus gives it."""

    side: Namespace
    tracer: Tracing

    @property
    def instance(self) -> str:
        """HOST:PORT as seen from the middle."""
        return self.tracer.address


@dataclass(frozen=True)
class Fleet:
    """The middle, from which Prometheus scrapes, and the hosts."""

    middle: Namespace
    hosts: tuple[Host, ...]


@contextmanager
def fleet(count: int, *options: str) -> Iterator[Fleet]:
    """Yield so many hosts, each with a `tcptrace run --netns own` with these options."""
    with ExitStack() as stack:
        middle = stack.enter_context(namespace())
        yield Fleet(middle, tuple(_host(stack, middle, number, options) for number in range(1, count + 1)))


def _host(stack: ExitStack, middle: Namespace, number: int, options: tuple[str, ...]) -> Host:
    side, device = stack.enter_context(namespace()), f"host{number}"
    middle.run(tool("ip"), "link", "add", device, "type", "veth", "peer", "name", "veth", "netns", side.path)
    address = f"10.29.{number}.2"
    for where, name, own in ((middle, device, f"10.29.{number}.1"), (side, "veth", address)):
        where.run(tool("ip"), "address", "add", f"{own}/24", "dev", name)
        where.run(tool("ip"), "link", "set", name, "up")
    until(lambda: "state UP" in middle.run(tool("ip"), "link", "show", "dev", device), f"{device} is up")
    command = (sys.executable, "-m", "tracer", "run", "--json", "--listen", f"{address}:{PORT}", "--netns", "own")
    return Host(side, stack.enter_context(tracing(*options, side=side, command=command)))
