"""The hash where every process of a service leaves its sheet each second, and where anybody reads them all.

Owns that hash and how it ends; never looks into a sheet. What is lost with it is a second's figures, nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from redis.exceptions import RedisError

from engine.errors import Disconnected

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from engine.keys import PartitionKeys

BOARD_TTL_S: Final = 60
"""The board goes this long after the last process has."""


class Board(Struct, frozen=True):
    """Every sheet at one moment."""

    now_ms: int
    """The server's clock."""
    sheets: dict[str, bytes]


class PulseBoard:
    """Posts and reads. Every method raises Disconnected when Redis gives no answer or takes nothing."""

    def __init__(self, redis: Redis, keys: PartitionKeys) -> None:
        self._redis = redis
        self._key = keys.pulse

    async def post(self, sheets: Mapping[str, bytes]) -> int:
        """Put sheets under their names; gives the server's clock, ms, which all processes have in common."""
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hset(self._key, items=[part for pair in sheets.items() for part in pair])
                pipe.expire(self._key, BOARD_TTL_S)
                pipe.time()
                *_, (seconds, micros) = await pipe.execute()
        except (RedisError, OSError) as error:
            raise Disconnected(f"cannot write to Redis: {type(error).__name__}") from error
        return int(seconds * 1000 + micros // 1000)

    async def read(self) -> Board:
        """All sheets there are; whoever reads them decides which are too old."""
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.time()
                pipe.hgetall(self._key)
                (seconds, micros), found = await pipe.execute()
        except (RedisError, OSError) as error:
            raise Disconnected(f"cannot read from Redis: {type(error).__name__}") from error
        return Board(seconds * 1000 + micros // 1000, {_text(name): sheet for name, sheet in found.items()})

    async def take_down(self, names: Iterable[str]) -> None:
        """Remove sheets."""
        try:
            await self._redis.hdel(self._key, *names)
        except (RedisError, OSError) as error:
            raise Disconnected(f"cannot write to Redis: {type(error).__name__}") from error


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
