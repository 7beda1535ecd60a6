"""Telling the flusher that somebody waits for the ledger: a key in Redis that goes away by itself.

Owns the notice and how often it is renewed; never waits, and never flushes. Without it a flush comes a tick later.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from engine.keys import PartitionKeys

LASTS_MS: Final = 1_000
"""How long a notice counts. Who waits once will mostly wait again, and should find a flusher that does not rest."""
RENEWED_AFTER_S: Final = 0.4


class AwaitedNotice:
    """One process's notice. From one event loop."""

    def __init__(self, redis: Redis, keys: PartitionKeys) -> None:
        self._redis = redis
        self._key = keys.awaited
        self._due = 0.0
        self._sending: asyncio.Task[None] | None = None

    def give(self) -> None:
        """Somebody begins to wait: at most one command in RENEWED_AFTER_S, so that every wait may say so."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + RENEWED_AFTER_S
            self._sending = asyncio.get_running_loop().create_task(self._send())

    async def close(self) -> None:
        """Let what is on its way arrive."""
        if self._sending is not None:
            await self._sending

    async def _send(self) -> None:
        # Redis away, full or read only: whoever waits hears of that in other ways, and the tick comes all the same.
        with contextlib.suppress(RedisError, OSError):
            await self._redis.set(self._key, b"1", px=LASTS_MS)
