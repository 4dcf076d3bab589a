"""The HTTP server: /metrics, /healthz and pages for people, in as many threads as there are connections, up to a bound.

Binding is apart from serving, because the socket is opened before privileges are dropped. Nothing is imported while a request
is answered: after the drop, modules in an unreadable home can no longer be. A framework was the alternative: three pages do not
need one. A silent or slow client holds a thread until its time is up, or until a newer connection needs the place.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any

from tracer.model.report import Report
from tracer.model.spans import Spans
from tracer.outputs.accept import accepts_gzip, negotiate
from tracer.outputs.web.access import HEALTH, Access, say_goodbye
from tracer.outputs.web.answer import Answer
from tracer.outputs.web.pages import NO_FILES, File, Pages
from tracer.outputs.web.scrapes import Scrapes

PATIENCE_SECONDS = 75.0
"""How long a connection may be silent, or slow with one request or answer; longer than a usual scrape interval."""

LOOK_SECONDS = 15.0
"""How often it is looked, where no connection comes, whether one has used up its time."""

MAX_CONNECTIONS = 64

TURN_SECONDS = 0.0002
"""After which a thread has to let others run, if they want to; Python's own 5 ms add up, as a batch of records takes several
turns."""

CHALLENGE = 'Basic realm="tcptrace", charset="UTF-8"'
EVERYBODY = Access()


def serve(
    sock: socket.socket,
    report: Callable[[], Report],
    healthy: Callable[[], bool],
    *,
    access: Access = EVERYBODY,
    patience: float = PATIENCE_SECONDS,
    connections: int = MAX_CONNECTIONS,
    max_series: int | None = None,
    past: Callable[[], Spans | None] = lambda: None,
    files: Mapping[str, File] = NO_FILES,
) -> Server:
    """Return a Server that answers on a listening socket, which it now owns, until close().

    report and healthy are called in the server's threads, once a request. max_series: samples in /metrics, None for all.
    past: what the page draws of the last ten minutes. files: what is served besides, by path.
    From here on all threads of this process take turns of TURN_SECONDS.
    """
    sys.setswitchinterval(TURN_SECONDS)
    pages = Pages(report, healthy, past, files)
    return Server(_Listener(sock, Scrapes(report, max_series), pages, healthy, access, patience, connections))


class Server:
    """A running HTTP server. address: HOST:PORT as one writes it in a URL, with the real port; url: the page for people."""

    def __init__(self, listener: _Listener) -> None:
        host, port = listener.socket.getsockname()[:2]
        self.address = f"[{host}]:{port}" if listener.socket.family == socket.AF_INET6 else f"{host}:{port}"
        self.url = f"{listener.access.scheme}://{self.address}/"
        self._listener = listener
        often = min(listener.patience / 4, LOOK_SECONDS)
        self._thread = threading.Thread(target=listener.serve_forever, args=(often,), name="http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and end every connection; safe to call twice."""
        with suppress(OSError):  # it was called before
            self._listener.socket.shutdown(socket.SHUT_RDWR)  # which wakes the thread
        self._listener.shutdown()
        self._thread.join()
        self._listener.server_close()


class _Listener(ThreadingMixIn, TCPServer):
    """Accepts, keeps track of connections, and ends those whose time is up."""

    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        sock: socket.socket,
        scrapes: Scrapes,
        pages: Pages,
        healthy: Callable[[], bool],
        access: Access,
        patience: float,
        connections: int,
    ) -> None:
        super().__init__(sock.getsockname(), _Connection, bind_and_activate=False)
        self.socket.close()
        self.socket = sock
        self.healthy, self.access, self.patience = healthy, access, patience
        self.scrapes, self.pages = scrapes, pages
        self._bound = connections
        self._lock = threading.Lock()
        self._since: dict[socket.socket, float] = {}

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; its handshake is its own thread's."""
        sock, address = super().get_request()
        return self.access.wrap(sock), address

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a new connection; when there are too many, the one that waited longest has to go."""
        with self._lock:
            if len(self._since) >= self._bound:
                _end(min(self._since, key=self._since.__getitem__), self._since)
            self._since[request] = time.monotonic()
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """End connections that made no progress for too long; called between accepts."""
        late = time.monotonic() - self.patience
        with self._lock:
            for sock in [sock for sock, since in self._since.items() if since < late]:
                _end(sock, self._since)

    def progressed(self, request: socket.socket) -> None:
        """Give a connection that finished a request its full time again."""
        with self._lock:
            if request in self._since:
                self._since[request] = time.monotonic()

    def shutdown_request(self, request: Any) -> None:
        """Close a connection, in its own thread."""
        say_goodbye(request)
        with self._lock:
            self._since.pop(request, None)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Close the listening socket and end every connection."""
        super().server_close()
        with self._lock:
            for sock in list(self._since):
                _end(sock, self._since)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing when a client went away or was too slow; anything else is a bug and is shown."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def _end(sock: socket.socket, since: dict[socket.socket, float]) -> None:
    """Wake the thread of a connection, which then closes it, and forget it."""
    del since[sock]
    with suppress(OSError):  # the client was faster
        # Not ssl's own shutdown(), after which a thread that was just about to write would do so in plain text.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _Connection(BaseHTTPRequestHandler):
    """Requests of one connection, one after the other."""

    protocol_version = "HTTP/1.1"
    server_version = "tcptrace"
    sys_version = ""
    disable_nagle_algorithm = True  # head and body are two writes, and the second must not wait for an ACK
    server: _Listener

    def setup(self) -> None:
        """Bound every single wait for this client, and let it in; service_actions bounds the sum of its waits."""
        self.request.settimeout(self.server.patience)
        self.server.access.shake_hands(self.request)
        super().setup()

    def handle_one_request(self) -> None:
        """Answer one request, and start the connection's time again."""
        super().handle_one_request()
        self.server.progressed(self.request)

    def do_GET(self) -> None:
        """Answer with what there is at the path."""
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # a body would be read as the next request
        self._send(self._refusal() or self._answer())

    do_HEAD = do_GET  # noqa: N815 - http.server's own name

    def _answer(self) -> Answer:
        path = self.path.partition("?")[0]
        own = {"/metrics": self._metrics, HEALTH: self._health}
        try:
            return own[path]() if path in own else self._page(path)
        except Exception:  # noqa: BLE001 - a bug is shown here, and the client is told, whatever it is
            traceback.print_exc()
            return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, b"a bug in tcptrace; its standard error says more\n")

    def _refusal(self) -> Answer | None:
        """Return what to say to somebody who has not shown that they may ask, None to the others."""
        path, authorization = self.path.partition("?")[0], self.headers.get("Authorization", "")
        status = self.server.access.refusal(path, self.connection, authorization)
        if status is None:
            return None
        extra = {} if status == HTTPStatus.FORBIDDEN else {"WWW-Authenticate": CHALLENGE}
        return Answer(status, f"{status.phrase.lower()}\n".encode(), extra=extra)

    def _refuse(self) -> None:
        self.close_connection = True
        answer = Answer(HTTPStatus.METHOD_NOT_ALLOWED, b"only GET and HEAD\n", extra={"Allow": "GET, HEAD"})
        self._send(self._refusal() or answer)

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _refuse  # noqa: N815 - http.server's own names

    def _metrics(self) -> Answer:
        content_type = negotiate(",".join(self.headers.get_all("Accept", [])))
        packed = accepts_gzip(self.headers.get("Accept-Encoding", ""))
        body = self.server.scrapes.body(content_type, packed=packed)
        extra = {"Vary": "Accept, Accept-Encoding"} | ({"Content-Encoding": "gzip"} if packed else {})
        return Answer(HTTPStatus.OK, body, content_type, extra)

    def _health(self) -> Answer:
        if self.server.healthy():
            return Answer(HTTPStatus.OK, b"ok\n")
        return Answer(HTTPStatus.SERVICE_UNAVAILABLE, b"not attached, or events are not being read\n")

    def _page(self, path: str) -> Answer:
        found = self.server.pages.find(path)
        if found is None:
            return Answer(HTTPStatus.NOT_FOUND, b"not found; there are /metrics, /healthz, /report and /\n")
        content_type, body, policy = found
        return Answer(HTTPStatus.OK, body, content_type, {"Content-Security-Policy": policy} if policy else {})

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        headers = {"Content-Type": answer.content_type, "Content-Length": str(len(answer.body)), "Cache-Control": "no-store"}
        headers |= {"X-Content-Type-Options": "nosniff"} | dict(answer.extra)
        if self.close_connection:
            headers["Connection"] = "close"
        for name, value in headers.items():
            if name not in self.server.access.headers:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def end_headers(self) -> None:
        """Add the headers that every answer has, the library's own ones too."""
        for name, value in self.server.access.headers.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's own name
        """Keep quiet: a line per scrape helps nobody."""
