"""redis-py's clients as Holdfast uses them: they never retry behind our back, and a lost server is always a
redis.exceptions.ConnectionError.

Owns how they are made; never sends a command. The hot path has a link of its own (engine/link.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import redis
from redis.asyncio import Connection, Redis, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LostConnection
from redis.retry import Retry as BlockingRetry

ANSWER_TIMEOUT_S: Final = 10.0
CONNECT_TIMEOUT_S: Final = 5.0


class _Sending(AbstractConnection):
    """redis-py lets the loop run between finding the connection open and writing to it. If the server goes in between,
    asyncio says OSError, but uvloop says RuntimeError, which nobody takes for what it is.
    """

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            raise LostConnection(f"the connection to Redis was lost before the command was sent: {error}") from error


class _Tcp(_Sending, Connection):
    """redis://"""


class _Tls(_Sending, SSLConnection):
    """rediss://"""


class _Unix(_Sending, UnixDomainSocketConnection):
    """unix://"""


_KINDS: Final[dict[type[AbstractConnection], type[AbstractConnection]]] = {
    Connection: _Tcp,
    SSLConnection: _Tls,
    UnixDomainSocketConnection: _Unix,
}


def open_client(url: str, *, answer_timeout_s: float = ANSWER_TIMEOUT_S, **options: Any) -> Redis:
    """A client for asyncio of `url` (redis://, rediss:// or unix://) with a pool of connections, none of them open yet.

    `answer_timeout_s`: how long an answer may take; a command that blocks needs its own time on top. `options`: as
    redis-py's. Raises ValueError for another URL.
    """
    client: Redis = Redis.from_url(
        url,
        socket_timeout=answer_timeout_s,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        **options,
    )
    pool = client.connection_pool
    pool.connection_class = _KINDS[pool.connection_class]
    return client


def open_blocking_client(
    url: str,
    *,
    answer_timeout_s: float = ANSWER_TIMEOUT_S,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
    **options: Any,
) -> redis.Redis:
    """As `open_client`, for ordinary code."""
    return redis.Redis.from_url(
        url,
        socket_timeout=answer_timeout_s,
        socket_connect_timeout=connect_timeout_s,
        retry=BlockingRetry(NoBackoff(), 0),
        **options,
    )
