"""One connection to Redis for the hot path: bytes out, one callback a reply, no task and no future in between.

redis-py is used everywhere else; here a batch every few hundred microseconds would spend most of its Python time in
its connection pool, retry and response layers (measured in docs/decisions/0003-own-link.md). The protocol itself is
parsed by hiredis. The link never retries: what is safe to repeat is the engine's to decide.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import hiredis
from msgspec import Struct

from engine.errors import InvalidCommand

OnReply = Callable[[Any], None]
"""Called with the reply: a Redis value, a hiredis.ReplyError, or a ConnectionError when the link is lost."""

CONNECT_TIMEOUT_S: Final = 5.0


class Address(Struct, frozen=True):
    """Where and how to connect, from a redis:// , rediss:// or unix:// URL."""

    host: str
    port: int
    path: str
    username: str
    password: str
    database: int
    tls: bool


def parse_url(url: str) -> Address:
    """`redis[s]://[user:password@]host[:port][/db]` or `unix://[user:password@]/path[?db=n]`.

    Raises InvalidCommand, without repeating the URL (it may hold a password), when it is neither.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"redis", "rediss", "unix"}:
        raise InvalidCommand("a Redis URL starts with redis://, rediss:// or unix://")
    query = parse_qs(parts.query)
    try:
        database = int(query["db"][0]) if "db" in query else 0
        if parts.scheme != "unix" and parts.path.strip("/"):
            database = int(parts.path.strip("/"))
        port = parts.port or 6379
    except ValueError:
        raise InvalidCommand("the port and the database of a Redis URL are numbers") from None
    return Address(
        host=parts.hostname or "127.0.0.1",
        port=port,
        path=unquote(parts.path) if parts.scheme == "unix" else "",
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=database,
        tls=parts.scheme == "rediss",
    )


def encode(parts: Sequence[bytes]) -> bytes:
    """A command as RESP."""
    out = [b"*%d\r\n" % len(parts)]
    for part in parts:
        out.append(b"$%d\r\n%b\r\n" % (len(part), part))
    return b"".join(out)


class Link(asyncio.Protocol):
    """A connected, authenticated socket. Replies come in the order of the sends."""

    def __init__(self, on_lost: Callable[[Link], None]) -> None:
        self._on_lost = on_lost
        self._reader = hiredis.Reader()
        self._waiting: deque[OnReply] = deque()
        self._transport: asyncio.Transport | None = None
        self.run_id = ""
        """Of the server at the other end, once it was asked."""

    @property
    def is_open(self) -> bool:
        """True while the link can send."""
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio's; keeps the transport."""
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Asyncio's; hands each complete reply to its callback."""
        reader = self._reader
        try:
            reader.feed(data)
            reply = reader.gets()
            while reply is not False:
                if not self._waiting:
                    raise hiredis.ProtocolError("a reply that nobody asked for")
                self._waiting.popleft()(reply)
                reply = reader.gets()
        except hiredis.ProtocolError:
            # Nothing after a byte we cannot place can be trusted: the link ends, its callers learn "unknown".
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Asyncio's; everything still waiting has an unknown outcome."""
        self._transport = None
        waiting, self._waiting = self._waiting, deque()
        for on_reply in waiting:
            on_reply(ConnectionError("the connection to Redis was lost"))
        self._on_lost(self)

    def send(self, data: bytes, *on_replies: OnReply) -> None:
        """Send encoded commands, as many as there are callbacks. Raises ConnectionError, with nothing sent, when the
        link is closed.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            raise ConnectionError("the connection to Redis is closed")
        self._waiting += on_replies
        transport.write(data)

    async def call(self, *parts: bytes) -> Any:
        """Send one command and wait for its reply; raises what Redis or the socket raised."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.send(encode(parts), partial(_settle, future))
        try:
            return await future
        finally:
            # An error holds the frames it came through. If one of them held the error too, through its future, neither
            # would go before the garbage collector comes, and this link and its buffers would wait with them.
            del future

    def close(self) -> None:
        """Close the socket; waiting callbacks get ConnectionError."""
        if self._transport is not None:
            self._transport.abort()


def _settle(future: asyncio.Future[Any], reply: Any) -> None:
    if future.done():
        return
    if isinstance(reply, Exception):
        future.set_exception(reply)
        future.exception()  # a caller that was cancelled meanwhile never asks, and nobody need be told of that
    else:
        future.set_result(reply)


def run_id_in(info: bytes) -> str:
    """The server's run id, from what INFO says; empty when it says none."""
    for line in info.split(b"\r\n"):
        if line.startswith(b"run_id:"):
            return line.partition(b":")[2].decode("ascii", "replace")
    return ""


async def open_link(address: Address, on_lost: Callable[[Link], None]) -> Link:
    """Connect, authenticate and select. Raises OSError, hiredis.ReplyError or TimeoutError."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        if address.path:
            _, link = await loop.create_unix_connection(lambda: Link(on_lost), address.path)
        else:
            tls = ssl.create_default_context() if address.tls else None
            _, link = await loop.create_connection(lambda: Link(on_lost), address.host, address.port, ssl=tls)
        try:
            if address.password:
                user = [address.username.encode()] if address.username else []
                await link.call(b"AUTH", *user, address.password.encode())
            if address.database:
                await link.call(b"SELECT", b"%d" % address.database)
            await link.call(b"CLIENT", b"SETNAME", b"holdfast")
        except BaseException:
            link.close()
            raise
    return link
