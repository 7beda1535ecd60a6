"""Server-sent events: the bytes of an event, and the answer that goes on for as long as somebody listens.

Owns the conversation of one stream: heartbeats, looking at the key again, and its end, for whatever reason. What is
told comes from the feed (inventory/events/feed.py).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

import structlog
from fastapi import Response

from api.hot import asgi
from api.services import StreamSettings
from inventory.events import log
from inventory.events.feed import EventFeed, Reader
from inventory.events.log import LoggedEvent
from inventory.refusals import EventsGone
from persistence.database import DatabaseUnavailable

logger = structlog.get_logger("holdfast.api")

_HEADERS: Final = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    # What nginx and its like must be told, or they would collect the stream instead of passing it on.
    (b"x-accel-buffering", b"no"),
]

_LAST_WORD_S: Final = 0.5


def event_bytes(event: LoggedEvent) -> bytes:
    """One event. JSON holds no line break, so each field is one line."""
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (event.id.encode(), event.type.encode(), event.document)


class EventStream(Response):
    """The answer to GET /inventory/events once the reader has its place in the log."""

    media_type = "text/event-stream"

    def __init__(
        self,
        feed: EventFeed,
        last_event_id: str | None,
        types: frozenset[str],
        still_allowed: Callable[[], bool],
        settings: StreamSettings,
    ) -> None:
        """`types`: tell only these; empty: all. `still_allowed`: whether the caller's key is still good."""
        super().__init__()
        self._feed = feed
        self._last_event_id = last_event_id
        self._types = types
        self._still_allowed = still_allowed
        self._settings = settings
        self._idle_since = 0.0

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        """Stream until the client leaves, the key is revoked, or the service stops."""
        # Refusals (410, 404, 503) come before the first byte, as ordinary problem documents.
        async with self._feed.reader(self._last_event_id) as reader:
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            if scope.get("holdfast.head"):
                await send({"type": "http.response.body", "body": b""})
                return
            telling = asyncio.ensure_future(self._tell(reader, send))
            leaving = asyncio.ensure_future(client_leaves(receive))
            closing = asyncio.ensure_future(self._feed.closing.wait())
            try:
                while self._still_allowed() and not (telling.done() or leaving.done() or closing.done()):
                    await asyncio.wait(
                        {telling, leaving, closing},
                        timeout=self._settings.look_s,
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                left = leaving.done()
                if telling.done():
                    telling.result()
            finally:
                for task in (telling, leaving, closing):
                    task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await telling
            if not left:
                await end_stream(scope, receive, send)

    async def _tell(self, reader: Reader, send: asgi.Send) -> None:
        """Send what happens. Returns when the client does not take it, or when it can't be told without a gap."""
        loop = asyncio.get_running_loop()
        settings = self._settings

        async def put(body: bytes) -> None:
            async with asyncio.timeout(settings.stalled_s):
                await send({"type": "http.response.body", "body": body, "more_body": True})
            self._idle_since = loop.time()

        with contextlib.suppress(TimeoutError):
            # The position comes first: who connects again before any event has come must not miss one.
            await put(b"retry: %d\nid: %b\n\n" % (settings.retry_ms, log.id_of(reader.position).encode()))
            while True:
                try:
                    events = await reader.next(min(settings.look_s, settings.heartbeat_s))
                except DatabaseUnavailable:
                    # Nothing can be told that the ledger does not vouch for; it goes on when Postgres is back.
                    events = []
                    await asyncio.sleep(settings.look_s)
                except EventsGone as gone:
                    logger.warning("a reader of events was slower than they are kept", oldest=gone.oldest_id)
                    return
                told = [event_bytes(event) for event in events if not self._types or event.type in self._types]
                if told:
                    await put(b"".join(told))
                elif loop.time() - self._idle_since >= settings.heartbeat_s:
                    await put(b": heartbeat\nid: %b\n\n" % log.id_of(reader.position).encode())
                # A reader with much to catch up on and a fast connection must not keep others waiting.
                await asyncio.sleep(0)


async def client_leaves(receive: asgi.Receive) -> None:
    """Return when the other side has closed its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def end_stream(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
    """End the answer properly if the client takes it at once, else drop the connection with what it has not taken."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LAST_WORD_S):
            await send({"type": "http.response.body", "body": b""})
            return
    abort: Callable[[], None] | None = scope.get("holdfast.abort")
    if abort is not None:
        abort()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORD_S):
                await client_leaves(receive)
