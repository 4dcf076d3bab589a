"""Makes the data of the pictures: three real tracers under a made-up site's traffic, scraped by a real Prometheus.

`python -m dashboards.preview.data DIRECTORY` as root, from the checkout; it takes --minutes. Prometheus runs among the hosts,
where nobody else sees it, and leaves its database in DIRECTORY; any Prometheus can serve it afterwards, as often as wanted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dashboards.preview.sample_site import DATABASE, HOSTS, PARTNER, Site, answer_query, begin, site
from tests.kernel.until import until
from tests.needs import ROOT, tool

METRICS = 19293
SCRAPE_SECONDS = 5
WARM_UP_SECONDS = 240
"""Rates look back, forecasts of ports more so, and TIME_WAIT takes a minute to fill."""

KERNEL = {"source_labels": ["kernel"], "regex": r"(\d+\.\d+\.\d+).+", "target_label": "kernel", "replacement": "$1"}
"""A kernel's release without what its builder added to it."""

Episode = tuple[float, Callable[[Site], None]]

EPISODES: tuple[Episode, ...] = (
    (0.00, lambda here: here.lose("front-1", 0.3)),
    (0.25, lambda here: here.lose("front-1", 4)),  # the wire to the first web server goes bad
    (0.42, lambda here: here.lose("front-1", 0.3)),
    (0.56, lambda here: here.close("db-1", DATABASE)),  # the database is started anew
    (0.60, lambda here: here.open("db-1", DATABASE, answer_query)),
    (0.75, lambda here: here.silence(PARTNER)),  # the partner is gone without a word
    (0.85, lambda here: here.silence(0)),
)
"""What goes wrong, and when: as a fraction of the time that the pictures show."""


def main() -> None:
    """Trace the traffic for some minutes, and say which time the pictures are to show."""
    parser = argparse.ArgumentParser(description="Record the data of the pictures.")
    parser.add_argument("directory", type=Path, help="where Prometheus's database goes")
    parser.add_argument("--minutes", type=float, default=10, help="how much the pictures show (default: 10)")
    options = parser.parse_args()
    place: Path = options.directory.resolve()
    place.mkdir(parents=True)
    with site() as here, ExitStack() as stack:
        for name in HOSTS:
            stack.enter_context(tracer(here, name, place))
        begin(here)
        stack.enter_context(prometheus(here, place))
        say("warming up")
        time.sleep(WARM_UP_SECONDS)
        began = time.time()
        go_through(here, options.minutes * 60)
        here.over.set()
    span = {"from": round(began), "to": round(began + options.minutes * 60)}
    (place / "span.json").write_text(json.dumps(span), encoding="ascii")
    say(f"the pictures show {json.dumps(span)}")


def say(text: str) -> None:
    """Tell who waits how far it is."""
    sys.stderr.write(f"{text}\n")


def go_through(here: Site, seconds: float) -> None:
    """Let the episodes happen at their times, until all the time is over."""
    began = time.monotonic()
    for share, happen in (*EPISODES, (1.0, lambda _: None)):
        time.sleep(max(began + share * seconds - time.monotonic(), 0))
        happen(here)
        say(f"{share:.0%} of the time is over")


@contextmanager
def tracer(here: Site, name: str, place: Path) -> Iterator[None]:
    """Run tcptrace on one of the hosts, for that host alone."""
    options = ["--netns", "own", "--listen", f"{HOSTS[name]}:{METRICS}", "--no-view"]
    command = here.sides[name].command(sys.executable, "-m", "tracer", "run", *options)
    with (place / f"{name}.log").open("wb") as log, subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log) as process:
        try:
            yield
        finally:
            process.terminate()


@contextmanager
def prometheus(here: Site, place: Path) -> Iterator[None]:
    """Run Prometheus at the router, from where it reaches every host; it is ended in peace, so that it keeps all it has."""
    file = place / "prometheus.json"  # JSON is YAML
    file.write_text(json.dumps(configuration()), encoding="utf-8")
    options = {"config.file": file, "storage.tsdb.path": place / "data", "web.listen-address": "127.0.0.1:9090"}
    command = here.router.command(tool("prometheus"), *(f"--{name}={value}" for name, value in options.items()))
    with (place / "prometheus.log").open("wb") as log, subprocess.Popen(command, cwd=place, stdout=log, stderr=log) as process:
        try:
            until(lambda: up(here) == len(HOSTS), "every host is scraped")
            yield
        finally:
            process.terminate()


def configuration() -> dict[str, object]:
    """Return what Prometheus is to do: scrape every host under its name."""
    targets = [{"targets": [f"{address}:{METRICS}"], "labels": {"instance": name}} for name, address in HOSTS.items()]
    return {
        "global": {"scrape_interval": f"{SCRAPE_SECONDS}s"},
        "scrape_configs": [{"job_name": "tcptrace", "static_configs": targets, "metric_relabel_configs": [KERNEL]}],
    }


def up(here: Site) -> int:
    """Return how many hosts Prometheus has scraped."""
    with here.router.inside():
        try:
            with urllib.request.urlopen("http://127.0.0.1:9090/api/v1/query?query=sum(up)", timeout=10) as answer:
                result = json.load(answer)["data"]["result"]
        except (urllib.error.URLError, ConnectionError):
            return 0  # it is still starting
    return int(result[0]["value"][1]) if result else 0


if __name__ == "__main__":
    main()
