"""A lean HTTP/1.1 client: many keep-alive connections to one address, one request at a time on each.

Owns sockets and bytes. Never repeats a request: whoever asked learns that the outcome is unknown and decides.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Final
from urllib.parse import urlsplit

import httptools
from msgspec import Struct

TIMEOUT_S: Final = 10.0
"""A request without a whole answer for this long loses its connection; so long may it wait for one, too."""

CONNECT_TIMEOUT_S: Final = 5.0
_RECONNECT_S: Final = 0.05
_WATCH_S: Final = 0.25


class WireAnswer(Struct, gc=False):
    """An answer; status 0 when none came."""

    status: int = 0
    body: bytes = b""
    replayed: bool = False
    sent_s: float = 0.0
    """Monotonic instant at which the bytes went to a connection; the time before that was spent waiting for one.

    Not the event loop's own clock, which may tick in milliseconds.
    """
    answered_s: float = 0.0


class Origin(Struct, frozen=True):
    """Where requests go."""

    host: str
    port: int
    tls: bool
    path: str
    """Prefix of every path, without a slash at its end."""


def parse_origin(url: str) -> Origin:
    """`http://host:port/prefix` in parts. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"not an address such as http://127.0.0.1:8000: {parts.scheme}://{parts.hostname}")
    tls = parts.scheme == "https"
    return Origin(parts.hostname, parts.port or (443 if tls else 80), tls, parts.path.rstrip("/"))


class RequestMaker:
    """Builds requests to one origin with one API key."""

    def __init__(self, origin: Origin, api_key: str) -> None:
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        self._path = origin.path
        self._head = f"Host: {host}:{origin.port}\r\nAuthorization: Bearer {api_key}\r\n"

    def make(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """A request; `body` is JSON. Path and headers are ASCII without line ends."""
        more = "".join([f"{name}: {value}\r\n" for name, value in headers.items()]) if headers else ""
        if body is None:
            return f"{method} {self._path}{path} HTTP/1.1\r\n{self._head}{more}\r\n".encode("ascii")
        head = (
            f"{method} {self._path}{path} HTTP/1.1\r\n{self._head}Content-Type: application/json\r\n{more}"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode("ascii") + body


class _Connection(asyncio.Protocol):
    def __init__(self, on_idle: Callable[[_Connection], None], on_lost: Callable[[_Connection], None]) -> None:
        self._on_idle = on_idle
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._answer = WireAnswer()
        self.waiting: asyncio.Future[WireAnswer] | None = None
        self.keep_alive = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            # Nothing on this connection can be trusted any more.
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        waiting, self.waiting = self.waiting, None
        if waiting is not None and not waiting.done():
            self._answer.status = 0
            self._answer.answered_s = time.monotonic()
            waiting.set_result(self._answer)
        self._on_lost(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) == 20 and name.lower() == b"idempotency-replayed":
            self._answer.replayed = value == b"true"

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        waiting, self.waiting = self.waiting, None
        answer = self._answer
        status = self._parser.get_status_code()
        if status < 200 or waiting is None:
            self.waiting = waiting
            return
        answer.status = status
        answer.body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        answer.answered_s = time.monotonic()
        self._body = []
        if not waiting.done():
            waiting.set_result(answer)
        if self._parser.should_keep_alive() and self.is_open:
            self._on_idle(self)
        else:
            self.abort()

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def sent_s(self) -> float:
        return self._answer.sent_s

    def send(self, request: bytes, waiting: asyncio.Future[WireAnswer]) -> None:
        assert self._transport is not None  # noqa: S101 - only idle connections are sent on
        self.waiting = waiting
        self._answer = WireAnswer(sent_s=time.monotonic())
        self._transport.write(request)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class Wire:
    """The connections. `await ask(...)` from one event loop; close it when done."""

    def __init__(self, origin: Origin, connections: int, timeout_s: float = TIMEOUT_S) -> None:
        self._origin = origin
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._tls = ssl.create_default_context() if origin.tls else None
        self._idle: deque[_Connection] = deque()
        self._open: set[_Connection] = set()
        self._queue: deque[tuple[bytes, asyncio.Future[WireAnswer], float]] = deque()
        self._wanted = connections
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Open every connection. Raises OSError or TimeoutError when the service cannot be reached."""
        for _ in range(self._wanted):
            await self._connect()
        self._keep(self._watch())

    async def close(self) -> None:
        """Close every connection; requests still waiting get status 0."""
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        for connection in list(self._open):
            connection.abort()
        while self._queue:
            self._give_up_first()

    async def ask(self, request: bytes) -> WireAnswer:
        """Send a request on the next free connection and wait for its answer; status 0 if none came."""
        waiting: asyncio.Future[WireAnswer] = self._loop.create_future()
        while self._idle:
            connection = self._idle.popleft()
            if connection.is_open:
                connection.send(request, waiting)
                return await waiting
        self._queue.append((request, waiting, time.monotonic()))
        return await waiting

    async def _connect(self) -> None:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, connection = await self._loop.create_connection(
                lambda: _Connection(self._on_idle, self._on_lost), self._origin.host, self._origin.port, ssl=self._tls
            )
        self._open.add(connection)
        self._on_idle(connection)

    def _on_idle(self, connection: _Connection) -> None:
        if self._queue:
            request, waiting, _ = self._queue.popleft()
            connection.send(request, waiting)
        else:
            self._idle.append(connection)

    def _give_up_first(self) -> None:
        """The request that has waited longest for a connection was never sent; its sender learns no more than that."""
        _, waiting, _ = self._queue.popleft()
        if not waiting.done():
            waiting.set_result(WireAnswer(sent_s=time.monotonic(), answered_s=time.monotonic()))

    def _on_lost(self, connection: _Connection) -> None:
        self._open.discard(connection)
        if not self._closed:
            self._keep(self._replace())

    async def _replace(self) -> None:
        while not self._closed:
            try:
                await self._connect()
            except (OSError, TimeoutError):
                await asyncio.sleep(_RECONNECT_S)
            else:
                return

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_S)
            now = time.monotonic()
            for connection in list(self._open):
                if connection.waiting is not None and now - connection.sent_s > self._timeout_s:
                    connection.abort()
            while self._queue and now - self._queue[0][2] > self._timeout_s:
                self._give_up_first()

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
