"""Debian's Prometheus for tests: scrapes the targets it is given, evaluates rules, and answers queries as Grafana asks them.

It runs where the test says, in a network namespace or in none, and writes only below the directory that the test gives it.
"""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.kernel.net import Namespace
from tests.kernel.until import until
from tests.needs import tool

ADDRESS = "127.0.0.1"


@dataclass(frozen=True)
class Sample:
    """One sample of an answer: its labels, the metric's name among them as __name__, and its value."""

    labels: dict[str, str]
    value: float


class Prometheus:
    """A running Prometheus. address: HOST:PORT of its own, as seen from the namespace that it runs in."""

    def __init__(self, address: str, process: subprocess.Popen[bytes], side: Namespace | None) -> None:
        self.address = address
        self._process = process
        self._side = side

    def ask(self, path: str, **parameters: str) -> dict[str, Any]:
        """Return an answer of /api/v1/PATH whole, with its data and warnings; an error that it names is the test's."""
        question = urllib.parse.urlencode(parameters)
        try:
            answer: dict[str, Any] = json.loads(self._get(f"/api/v1/{path}?{question}"))
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path} {parameters}: {error.read().decode()}") from None
        return answer

    def query(self, expression: str) -> list[Sample]:
        """Return the samples that an expression yields now."""
        data = self.ask("query", query=expression)["data"]
        if data["resultType"] == "scalar":
            return [Sample({}, float(data["result"][1]))]
        return [Sample(row["metric"], float(row["value"][1])) for row in data["result"]]

    def value(self, expression: str) -> float | None:
        """Return the value of an expression that yields one sample, None while it yields none."""
        samples = self.query(expression)
        assert len(samples) < 2, f"{expression} yields {len(samples)} samples: {samples}"
        return samples[0].value if samples else None

    def wait_until_up(self, count: int = 1) -> None:
        """Wait until so many targets have been scraped."""
        until(lambda: self.value("sum(up)") == count, f"Prometheus has scraped {count} targets")

    def is_ready(self) -> bool:
        """Whether it answers queries yet."""
        assert self._process.poll() is None, "Prometheus has ended"
        try:
            return bool(self._get("/-/ready"))
        except (urllib.error.URLError, ConnectionError):
            return False

    def _get(self, path: str) -> bytes:
        with _inside(self._side):
            answer = urllib.request.urlopen(f"http://{self.address}{path}", timeout=30)
        with answer:
            body: bytes = answer.read()
        return body


def _inside(side: Namespace | None) -> AbstractContextManager[None]:
    return side.inside() if side else nullcontext()


def configuration(
    targets: Sequence[str], rules: Sequence[Path], interval: str, scrape: Mapping[str, object] = MappingProxyType({})
) -> str:
    """Return a configuration, in JSON, which is YAML: the job is `tcptrace`, as everywhere in rules and dashboards."""
    return json.dumps(
        {
            "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
            "rule_files": [str(path) for path in rules],
            "scrape_configs": [{"job_name": "tcptrace", "static_configs": [{"targets": list(targets)}], **scrape}],
        }
    )


@contextmanager
def prometheus(
    place: Path,
    *targets: str,
    rules: Sequence[Path] = (),
    interval: str = "500ms",
    side: Namespace | None = None,
    scrape: Mapping[str, object] = MappingProxyType({}),
    flags: Sequence[str] = (),
) -> Iterator[Prometheus]:
    """Yield a Prometheus that scrapes targets (HOST:PORT each) and evaluates rules every interval; afterwards it is gone.

    place: an empty directory, for all that it writes. side: the namespace in which it runs, and from which it scrapes.
    scrape: more settings of the job, such as scheme and basic_auth. flags: more options on its command line.
    """
    address = f"{ADDRESS}:{free_port(side)}"
    file = place / "prometheus.yml"
    file.write_text(configuration(targets, rules, interval, scrape), encoding="utf-8")
    options = {"config.file": file, "storage.tsdb.path": place / "data", "web.listen-address": address}
    command = [tool("prometheus"), *(f"--{name}={value}" for name, value in options.items()), *flags]
    command = side.command(*command) if side else command
    with (place / "log").open("wb") as log, subprocess.Popen(command, cwd=place, stdout=log, stderr=log) as process:
        try:
            server = Prometheus(address, process, side)
            until(server.is_ready, "Prometheus answers")
            yield server
        finally:
            process.kill()


def free_port(side: Namespace | None = None) -> int:
    """Return a port that nobody uses now; below the ephemeral ones nobody takes it by chance in the meantime."""
    with _inside(side):
        taken = Path("/proc/thread-self/net/tcp").read_text(encoding="ascii")
    return next(port for port in range(20_000, 30_000) if f":{port:04X} " not in taken)
