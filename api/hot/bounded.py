"""uvicorn's HTTP protocol with the limits it lacks: of a request's head, of requests in line, of connections, of time.

Owns what a connection may cost before there is a request. What a request may cost is limited where it is carried out.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.hot.asgi import LINGER_S, request_timeout
from api.problems import PROBLEM_JSON, Problem

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
    from uvicorn.server import ServerState

    from api.services import ApiSettings

_CLOSE: Final = ((b"connection", b"close"),)


class TooManyInLine(Exception):
    """More requests were sent ahead on one connection than may wait on it."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol that ends connections which cost too much. A base: see `PlainProtocol` and `HotProtocol`."""

    limits: ClassVar[ApiSettings]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._in_head = False
        self._head_bytes = 0
        self._serving: RequestResponseCycle | None = None
        """The request that is being answered; uvicorn remembers only the one that came last."""
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection, or refuse it if there are as many as may be."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            self._refuse_unread(Problem("overloaded", "As many connections are open as may be.", headers=_CLOSE))
            self._close()

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection."""
        if self._stalled is not None:
            self._stalled.cancel()
        self._abandon()
        super().connection_lost(exc)

    def _abandon(self) -> None:
        """Answer nothing more: not what waits in line, nor what is being answered."""
        self.pipeline.clear()
        if self._serving is not None and not self._serving.response_complete:
            self._serving.disconnected = True
            self._serving.message_event.set()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._serving = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        """Bytes came in, for uvicorn's parser."""
        was_in_head = self._in_head
        super().data_received(data)
        # The parser keeps an unfinished header for itself, so what came in is what can be counted.
        if was_in_head and self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > self.limits.max_head_bytes and not self.transport.is_closing():
                self._in_head = False
                # Not closed at once: with bytes unread that would be a reset, and the answer would be lost.
                self.flow.pause_reading()
                self._refuse_unread(
                    Problem("head-too-large", f"At most {self.limits.max_head_bytes} bytes.", headers=_CLOSE)
                )

    def pause_writing(self) -> None:
        """The transport's: the client takes nothing of its answers, for the present."""
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(self.limits.stalled_s, self.transport.abort)

    def resume_writing(self) -> None:
        """The transport's: it does again."""
        super().resume_writing()
        # One that closes keeps its limit: little enough may be left that the transport never says it stands still.
        if self._stalled is not None and not self.transport.is_closing():
            self._stalled.cancel()
            self._stalled = None

    def on_response_complete(self) -> None:
        """uvicorn's: an answer is written, and the connection closed if it was the last one."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._close()

    def timeout_keep_alive_handler(self) -> None:
        """uvicorn's: the connection was idle for too long."""
        self._close()

    def _close(self) -> None:
        """Close once the client has taken its answers, or without them: a transport would wait for that for ever."""
        self.transport.close()
        if self._stalled is None:
            self._stalled = self.loop.call_later(self.limits.stalled_s, self.transport.abort)

    def on_message_begin(self) -> None:
        """The parser's: a request begins."""
        self._in_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The parser's: the head is whole. Raises TooManyInLine, which ends the connection."""
        self._in_head = False
        if len(self.pipeline) >= self.limits.max_pipelined:
            # uvicorn goes on reading with each answer, so that a client who sends faster would fill the memory.
            self._abandon()
            raise TooManyInLine
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """What cannot be parsed as HTTP is answered with a problem document too."""
        self._refuse_unread(Problem("invalid-request", msg, headers=_CLOSE))
        self._close()

    def _refuse_unread(self, problem: Problem) -> None:
        """Answer before the request is whole, then drop the connection once the client had time to read it."""
        if self.transport.is_closing():
            return
        status, body = problem.kind.status, problem.body()
        lines = [
            b"HTTP/1.1 %d %b" % (status, HTTPStatus(status).phrase.encode()),
            b"content-type: " + PROBLEM_JSON,
            b"content-length: %d" % len(body),
            *(b"%b: %b" % header for header in (*self.server_state.default_headers, *problem.headers())),
        ]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        self.loop.call_later(LINGER_S, self._close)


class PlainProtocol(BoundedProtocol):
    """For the ASGI adapter: nobody waits for ever for the head of a request. Make it with `plain_protocol`."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._tick_s = self.limits.body_timeout_s / 2
        self._waiting_since = 0.0
        """Since when the head of a request is waited for; 0: it is there, or uvicorn counts the idle time itself."""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection."""
        super().connection_made(transport)
        self._waiting_since = self.loop.time()
        self._timer = self.loop.call_later(self._tick_s, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came in. Blank lines are no request, though uvicorn stops counting the idle time for them."""
        super().data_received(data)
        answering = self.cycle is not None and not self.cycle.response_complete
        if not self._waiting_since and not answering and self.timeout_keep_alive_task is None:
            self._waiting_since = self.loop.time()

    def on_message_begin(self) -> None:
        """The parser's."""
        self._waiting_since = self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The parser's. What follows has its time limits in the application."""
        self._waiting_since = 0.0
        super().on_headers_complete()

    def _look(self) -> None:
        if self.transport.is_closing():
            return
        answering = self.cycle is not None and not self.cycle.response_complete
        since = self._waiting_since
        if since and not answering and self.loop.time() - since > self.limits.body_timeout_s:
            if self._in_head:
                self._refuse_unread(request_timeout())
            else:
                self._close()
            return
        self._timer = self.loop.call_later(self._tick_s, self._look)


def plain_protocol(limits: ApiSettings) -> type[PlainProtocol]:
    """The class to give to `uvicorn.Config(http=...)` for the ASGI adapter."""
    return type("PlainProtocol", (PlainProtocol,), {"limits": limits})
