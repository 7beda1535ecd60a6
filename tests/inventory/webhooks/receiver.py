"""A webhook's receiver: a real HTTP server in a thread that remembers what it got and answers as a test tells it.

Owns no judgement: whether a signature is good is asked of the standardwebhooks library.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple

from standardwebhooks import Webhook


class Received(NamedTuple):
    """One request."""

    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    connection: int
    """The client's port: the same for requests over one connection."""

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> Any:
        return json.loads(self.body)

    def verified_by(self, secret: str) -> Any:
        """The body as the library hands it out; raises WebhookVerificationError."""
        return Webhook(secret).verify(self.body, self.headers)


Answer = int | tuple[int, dict[str, str], bytes]


class Receiver:
    """Answers `answers` in turn, then `otherwise`. `before_answer` may hold an answer back."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Received] = []
        self.answers: list[Answer] = []
        self.otherwise: Answer = 204
        self.before_answer: Callable[[], object] = lambda: None
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = receiver._take(Received(self.path, headers, body, self.client_address[1]))
                status, more, sent = (answer, {}, b"") if isinstance(answer, int) else answer
                receiver.before_answer()
                try:
                    self.send_response(status)
                    for name, value in more.items():
                        self.send_header(name, value)
                    if status != 204:
                        self.send_header("content-length", str(len(sent)))
                    self.end_headers()
                    self.wfile.write(sent)
                except OSError:
                    self.close_connection = True  # the sender has hung up, as some tests want

            def do_GET(self) -> None:
                receiver._take(Received(self.path, {}, b"{}", 0))
                self.send_error(405)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # refused handshakes and hang-ups are what some tests are about

        self._server = Server(("127.0.0.1", 0), Handler)
        self.scheme = "http"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
            self.scheme = "https"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def _take(self, received: Received) -> Answer:
        with self._lock:
            self.requests.append(received)
            return self.answers.pop(0) if self.answers else self.otherwise

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    @property
    def ids(self) -> list[str]:
        """The webhook-id of every request, in the order they came."""
        return [received.id for received in self.requests]

    @property
    def types(self) -> list[str]:
        return [received.event["type"] for received in self.requests]

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
