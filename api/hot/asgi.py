"""The hot path under any ASGI server: reads the body within its limit, waits for the one answer, sends it.

Owns the ASGI conversation of hot requests. What is answered is decided by the endpoints, the same as under
`protocol.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Final

from api.hot.exchange import Exchange, Headers
from api.problems import PROBLEM_JSON, Problem

if TYPE_CHECKING:
    from api.hot.endpoints import Endpoint, Hot

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Answer = tuple[int, bytes, Headers]


LINGER_S: Final = 2.0
"""How long a connection stays open, its input thrown away, after an answer that came before the end of the body: closed
at once, it would be reset under the client before the answer is read."""
LINGER_BYTES: Final = 16_777_216
"""How much input is thrown away like that at most."""
STRANGER_BYTES: Final = 65_536
"""A body that may be larger than this is only taken in for a key that is known: many who have none would fill the
memory with bodies that nobody will look at."""
CLOSE: Final = (b"connection", b"close")
_CLOSE: Final = (CLOSE,)


class Disconnected(Exception):
    """The client left before its request was complete."""


class AsgiExchange(Exchange):
    """An exchange whose answer is awaited by `serve`."""

    def __init__(self, endpoint: Endpoint, argument: str) -> None:
        self.endpoint = endpoint
        self.argument = argument
        self.answer_future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def send(self, status: int, body: bytes, headers: Headers) -> None:
        """Hand the answer to `serve`, unless it has been cancelled."""
        if not self.answer_future.done():
            self.answer_future.set_result((status, body, headers))


def too_large(limit: int) -> Problem:
    """413, and the connection is not used again: the rest of the body is not worth reading."""
    return Problem("payload-too-large", f"At most {limit} bytes.", headers=_CLOSE)


def request_timeout() -> Problem:
    """408, and the connection is not used again."""
    return Problem("request-timeout", headers=_CLOSE)


def content_length(headers: list[tuple[bytes, bytes]]) -> int:
    """The Content-Length, 0 if there is none."""
    for name, value in headers:
        if name == b"content-length":
            return int(value) if value.isdigit() and len(value) < 20 else 0
    return 0


async def read_body(receive: Receive, headers: list[tuple[bytes, bytes]], limit: int) -> bytes:
    """The whole body. Raises Problem `payload-too-large` as soon as it is known to be, and Disconnected."""
    if content_length(headers) > limit:
        raise too_large(limit)
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise too_large(limit)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _most_bytes(headers: list[tuple[bytes, bytes]]) -> int:
    """How large the body may become, as far as the head tells: one that comes in chunks may be large."""
    declared = content_length(headers)
    return declared or (STRANGER_BYTES + 1 if any(name == b"transfer-encoding" for name, _ in headers) else 0)


async def _introduced(hot: Hot, exchange: Exchange) -> None:
    """Return if the key is good. Raises Problem otherwise, and the body is not read."""
    try:
        await hot.services.keys.look_up(exchange.authorization)
    except Problem as problem:
        raise Problem(problem.kind.code, problem.detail, headers=_CLOSE) from None


async def serve(hot: Hot, found: tuple[Endpoint, str], scope: Scope, receive: Receive, send: Send) -> None:
    """Carry one hot request; `found` is what `hot.route` gave for it."""
    endpoint, argument = found
    exchange = AsgiExchange(endpoint, argument)
    headers: list[tuple[bytes, bytes]] = list(scope["headers"])
    exchange.read_headers(headers)
    exchange.query = scope.get("query_string", b"")
    exchange.started = time.perf_counter()
    try:
        if hot.is_stranger(exchange) and STRANGER_BYTES < _most_bytes(headers) <= endpoint.max_body_bytes:
            await _introduced(hot, exchange)
        exchange.body = await asyncio.wait_for(
            read_body(receive, headers, endpoint.max_body_bytes), hot.settings.body_timeout_s
        )
    except Disconnected:
        return
    except TimeoutError:
        exchange.refuse(request_timeout())
    except Problem as problem:
        exchange.refuse(problem)
    else:
        hot.dispatch(exchange)
    status, body, extra = await exchange.answer_future
    sent_headers = answer_headers(exchange, status, body, extra)
    await send({"type": "http.response.start", "status": status, "headers": sent_headers})
    if CLOSE in extra:
        await send_last(body, receive, send)
    else:
        await send({"type": "http.response.body", "body": body})


async def send_last(body: bytes, receive: Receive, send: Send) -> None:
    """Send the body of an answer after which the connection is closed, and let the client finish sending first."""
    await send({"type": "http.response.body", "body": body, "more_body": True})
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            thrown_away = 0
            while thrown_away < LINGER_BYTES:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body", False):
                    break
                thrown_away += len(message.get("body", b""))
    await send({"type": "http.response.body", "body": b""})


def answer_headers(exchange: Exchange, status: int, body: bytes, extra: Headers) -> list[tuple[bytes, bytes]]:
    """Every header of an answer."""
    headers = [
        (b"content-type", b"application/json" if status < 400 else PROBLEM_JSON),
        (b"content-length", b"%d" % len(body)),
        *extra,
    ]
    if exchange.needs_id(status):
        headers.append((b"x-request-id", exchange.log_id()))
    return headers
