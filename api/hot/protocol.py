"""The hot path inside uvicorn's HTTP protocol: no scope, no task, no future for a request that is usual.

Owns the hot requests of a connection and its idle timeout. Whatever is unusual (other paths, HEAD, HTTP/1.0, upgrade,
Expect, chunked bodies, percent signs, pipelining, a client that does not read, a large body of somebody unknown) is
left to uvicorn, and so to `asgi.py`, which gives the same answers.
"""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, Final

from api.hot.asgi import LINGER_S, STRANGER_BYTES, request_timeout, too_large
from api.hot.bounded import BoundedProtocol
from api.hot.exchange import Exchange, Headers
from api.hot.whole_request import WholeReader
from api.problems import PROBLEM_JSON, Problem

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from api.hot.endpoints import Hot

_METHODS: Final = frozenset((b"GET", b"POST", b"PATCH", b"DELETE", b"PUT"))


def _start_of(status: int) -> bytes:
    media = b"application/json" if status < 400 else PROBLEM_JSON
    phrase = HTTPStatus(status).phrase.encode()
    return b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\ncontent-length: " % (status, phrase, media)


_STARTS: Final = {status.value: _start_of(status.value) for status in HTTPStatus if status >= 200}


class _NoEvent:
    def set(self) -> None:
        """Nobody waits for a hot request in a task."""


class _HotCycle:
    """Stands in uvicorn's books for a hot request: pipelining, shutdown and disconnects look at it."""

    def __init__(self) -> None:
        self.response_complete = True
        self.keep_alive = True
        self.disconnected = False
        self.body = bytearray()
        self.more_body = False
        self.message_event = _NoEvent()


class _WireExchange(Exchange):
    """An exchange that writes to its connection."""

    def __init__(self, protocol: HotProtocol) -> None:
        self.protocol = protocol

    def send(self, status: int, body: bytes, headers: Headers) -> None:
        """Write the answer, and let uvicorn go on with the connection."""
        self.protocol.answer_hot(self, status, body, headers)


class _DefaultHeaders:
    """uvicorn's default headers (date, server) as bytes; uvicorn makes a new list each second."""

    source: list[tuple[bytes, bytes]] | None = None
    text = b""


class HotProtocol(BoundedProtocol):
    """uvicorn's protocol with a short way for hot requests. Make it with `hot_protocol`."""

    hot: ClassVar[Hot]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._hot_cycle = _HotCycle()
        self._exchange: _WireExchange | None = None
        self._parts: list[bytes] = []
        """Of the body that is coming in."""
        self._receiving_since = 0.0
        self._whole = WholeReader()
        self._between = True
        """True while uvicorn's parser stands between two requests."""
        self._active = True
        self._idle_s = 0.0
        self._tick_s = min(self.timeout_keep_alive, self.hot.settings.body_timeout_s)
        self._idle_timer: asyncio.TimerHandle | None = None

    # Connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection."""
        super().connection_made(transport)
        self._idle_timer = self.loop.call_later(self._tick_s, self._check_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection. A batch that carries one of its requests goes on; the answer is dropped."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._exchange = None
        self._hot_cycle.disconnected = True
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came in: nearly always one whole request."""
        self._active = True
        cycle = self.cycle
        if (
            self._between
            and (cycle is None or cycle.response_complete)
            and not self.flow.write_paused
            and self._whole.read(data)
            and self._run_whole()
        ):
            return
        super().data_received(data)
        if self._between and (self.cycle is None or self.cycle.response_complete):
            # Blank lines keep no connection open.
            self._active = False

    def _run_whole(self) -> bool:
        whole = self._whole
        path, _, query = whole.url.partition(b"?")
        if whole.method not in _METHODS or b"%" in path:
            return False
        found = self.hot.route(whole.method, path)
        if found is None:
            return False
        exchange = _WireExchange(self)
        if not exchange.read_headers(whole.headers.items()) or (exchange.connection and not whole.is_http_1_1()):
            return False
        endpoint, exchange.argument = found
        exchange.body = body = whole.body
        if len(body) > endpoint.max_body_bytes:
            return False
        exchange.endpoint = endpoint
        exchange.query = query
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        self._take()
        self.hot.dispatch(exchange)
        return True

    def _take(self) -> None:
        """Put a hot request into uvicorn's books."""
        cycle = self._hot_cycle
        cycle.response_complete = False
        cycle.keep_alive = True
        self.cycle = cycle  # type: ignore[assignment]

    def _check_idle(self) -> None:
        """Close a connection that has been silent, or that has been sending one request for too long.

        One timer a connection, looked at now and then, instead of one cancelled and armed with every request.
        """
        if self.transport.is_closing():
            return
        since = self._receiving_since
        # A cold request under way has a time limit of its own, in api/app.py.
        answering = self.cycle is not None and not self.cycle.response_complete
        ours = self._exchange is not None or not answering
        if since and ours and self.loop.time() - since > self.hot.settings.body_timeout_s:
            self._refuse_unread(request_timeout())
            return
        if self._active or since or answering:
            self._active = False
            self._idle_s = 0.0
        else:
            self._idle_s += self._tick_s
            if self._idle_s >= self.timeout_keep_alive:
                self._close()
                return
        self._idle_timer = self.loop.call_later(self._tick_s, self._check_idle)

    # Parser callbacks

    def on_message_begin(self) -> None:
        """A request begins. uvicorn's own preparations are put off until it is known to be unusual."""
        self._receiving_since = self.loop.time()
        self._between = False
        self._in_head = True
        self._head_bytes = 0
        self._exchange = None
        self._parts.clear()
        self.url = b""
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Decide which way the request goes."""
        self._in_head = False
        cycle = self.cycle
        if (cycle is None or cycle.response_complete) and not self.flow.write_paused and self._begin_hot():
            return
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        for name, value in headers:
            super().on_header(name, value)
        # For an answer that goes on for ever to a client that takes nothing of it: closing would wait for the client.
        self.scope["holdfast.abort"] = self.transport.abort  # type: ignore[typeddict-unknown-key]
        super().on_headers_complete()

    def _begin_hot(self) -> bool:
        parser = self.parser
        method = parser.get_method()
        path, _, query = self.url.partition(b"?")
        if method not in _METHODS or b"%" in path:
            return False
        found = self.hot.route(method, path)
        # Without a Connection header, what is kept open is HTTP/1.1; asking for the version costs a string.
        if found is None or not parser.should_keep_alive():
            return False
        exchange = _WireExchange(self)
        if not exchange.read_headers(self.headers):
            return False
        if exchange.connection and parser.get_http_version() != "1.1":
            return False
        endpoint, exchange.argument = found
        exchange.endpoint = endpoint
        exchange.query = query
        length = int(exchange.declared_length)
        if STRANGER_BYTES < length <= endpoint.max_body_bytes and self.hot.is_stranger(exchange):
            return False
        self._take()
        self._exchange = exchange
        if length > endpoint.max_body_bytes:
            self._refuse_unread(too_large(endpoint.max_body_bytes))
        return True

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        exchange = self._exchange
        if exchange is None:
            super().on_body(body)
        elif not exchange.answered:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._receiving_since = 0.0
        self._between = True
        exchange = self._exchange
        if exchange is None:
            super().on_message_complete()
            return
        self._exchange = None
        if not exchange.answered:
            exchange.body = b"".join(self._parts)
            self.hot.dispatch(exchange)
        self._parts.clear()

    # Answers

    def answer_hot(self, exchange: Exchange, status: int, body: bytes, headers: Headers) -> None:
        """Write a whole answer in one piece."""
        transport = self.transport
        if transport.is_closing():
            return
        defaults = self.server_state.default_headers
        if defaults is not _DefaultHeaders.source:
            _DefaultHeaders.text = b"".join([b"%b: %b\r\n" % header for header in defaults])
            _DefaultHeaders.source = defaults
        cycle = self._hot_cycle
        more = b"".join([b"%b: %b\r\n" % header for header in headers]) if headers else b""
        if exchange.needs_id(status):
            more += b"x-request-id: %b\r\n" % exchange.log_id()
        if not cycle.keep_alive and (b"connection", b"close") not in headers:
            more += b"connection: close\r\n"
        transport.write(b"%b%d\r\n%b%b\r\n%b" % (_STARTS[status], len(body), _DefaultHeaders.text, more, body))
        cycle.response_complete = True
        self._active = True
        if not cycle.keep_alive:
            self.server_state.total_requests += 1
            self._close()
        elif self.pipeline:
            self.on_response_complete()
        else:
            self.server_state.total_requests += 1

    def _refuse_unread(self, problem: Problem) -> None:
        """Answer before the request is whole, then drop the connection once the client had time to read it."""
        exchange = self._exchange or _WireExchange(self)
        if not hasattr(exchange, "endpoint"):
            exchange.endpoint = self.hot.refused
        exchange.started = time.perf_counter()
        exchange.refuse(problem)
        self.loop.call_later(LINGER_S, self._close)

    def send_400_response(self, msg: str) -> None:
        """What cannot be parsed as HTTP is answered with a problem document too."""
        self._hot_cycle.keep_alive = False
        exchange = _WireExchange(self)
        exchange.endpoint = self.hot.refused
        exchange.started = time.perf_counter()
        exchange.refuse(Problem("invalid-request", msg))


def hot_protocol(hot: Hot) -> type[HotProtocol]:
    """The class to give to `uvicorn.Config(http=...)`."""
    return type("HotProtocol", (HotProtocol,), {"hot": hot, "limits": hot.settings})
