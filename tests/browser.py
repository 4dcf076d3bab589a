"""A headless Chromium, driven through its debugging pipe: what a page asks for, complains of, shows, and looks like.

Two pipes and JSON between zero bytes, so that no driver has to be installed. Each page has a profile of its own.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.needs import tool

NAME = "chromium-headless-shell"
"""What tests need that use this."""

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--force-color-profile=srgb"),
)
PATIENCE = 120.0
COMPLAINTS = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")


class Browser:
    """A running Chromium. events: what it has told without being asked, by session."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = read, write
        self._rest = b""
        self._number = 0
        self.events: dict[str | None, list[dict[str, Any]]] = {}

    def ask(self, method: str, session: str | None = None, **params: object) -> dict[str, Any]:
        """Return the answer to a command; raises AssertionError for a refusal."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (found := self._take()).get("id") != self._number:
            pass
        assert "error" not in found, found
        result: dict[str, Any] = found["result"]
        return result

    def wait(self, method: str, session: str) -> None:
        """Return when a session has told of an event."""
        while not any(event["method"] == method for event in self.events.get(session, ())):
            self._take()

    def _take(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._rest:
            readable, _, _ = select.select([self._read], [], [], max(end - time.monotonic(), 0))
            assert readable, "the browser says nothing"
            part = os.read(self._read, 1 << 20)
            assert part, "the browser has ended"
            self._rest += part
        text, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        if "method" in message:
            self.events.setdefault(message.get("sessionId"), []).append(message)
        return message

    def open(self, url: str, width: int = 1280, height: int = 900, *, dark: bool = False, media: str = "") -> Page:
        """Return a page that has loaded. width, height: of the window, in pixels; media: "print" for how it is printed."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable", session)
        self.ask("Emulation.setDeviceMetricsOverride", session, width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", session, media=media, features=[scheme])
        self.events[session] = []
        self.ask("Page.navigate", session, url=url)
        self.wait("Page.loadEventFired", session)
        return Page(self, session)


class Page:
    """A page that has loaded."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session

    @property
    def requests(self) -> list[str]:
        """Everything that was asked for, the page itself first."""
        return [event["params"]["request"]["url"] for event in self._events("Network.requestWillBeSent")]

    @property
    def complaints(self) -> list[str]:
        """What the console says, and errors of scripts."""
        self.run("0")  # what was said before the answer has come with it
        return [json.dumps(event["params"]) for event in self._events(*COMPLAINTS)]

    def run(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript; a content policy does not stop the debugger."""
        found = self._browser.ask("Runtime.evaluate", self._session, expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    @property
    def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        return int(self.run("document.documentElement.scrollWidth - window.innerWidth"))

    def picture(self, file: Path, *, first: int = 0, height: int | None = None) -> None:
        """Write the page as a PNG: all of it, or so many pixels from the first on."""
        size = self._browser.ask("Page.getLayoutMetrics", self._session)["cssContentSize"]
        clip = {"x": 0, "y": first, "width": size["width"], "height": height or size["height"] - first, "scale": 1}
        shot = self._browser.ask("Page.captureScreenshot", self._session, captureBeyondViewport=True, clip=clip)
        file.write_bytes(base64.b64decode(shot["data"]))

    def printed(self, file: Path) -> None:
        """Write the page as a PDF."""
        file.write_bytes(base64.b64decode(self._browser.ask("Page.printToPDF", self._session)["data"]))

    def _events(self, *methods: str) -> list[dict[str, Any]]:
        return [event for event in self._browser.events.get(self._session, ()) if event["method"] in methods]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a browser, and end it."""
    theirs_read, write = _pipe()
    read, theirs_write = _pipe()
    # bash gives the ends their numbers: the browser reads from 3 and writes to 4
    command = ("bash", "-c", f'exec "$0" "$@" 3<&{theirs_read} 4>&{theirs_write} 2>/dev/null', tool(NAME), *FLAGS)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        with subprocess.Popen([*command, f"--user-data-dir={profile}"], pass_fds=(theirs_read, theirs_write)) as process:
            for end in (theirs_read, theirs_write):
                os.close(end)
            try:
                yield Browser(read, write)
            finally:
                process.kill()
        for end in (read, write):
            os.close(end)


def _pipe() -> tuple[int, int]:
    """Return both ends of a pipe, with numbers from 10 on, which nothing else takes over."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return high[0], high[1]
