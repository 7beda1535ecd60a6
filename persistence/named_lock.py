"""One at a time over a name, across processes: a lock of Postgres that ends with its connection.

Owns the lock only; what it protects is said by those who name it (order_lock.py, approval_lock.py). A holder that is
killed leaves nothing locked.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import blake2b

import structlog
from sqlalchemy import func, select

from persistence.database import Database, DatabaseUnavailable

_log = structlog.get_logger("persistence.named_lock")


@asynccontextmanager
async def named_lock(database: Database, slots: asyncio.Semaphore, topic: str, name: str) -> AsyncIterator[None]:
    """Hold the lock of `name` among those of `topic` (at most 16 bytes) inside the block.

    `slots`: how many of this process's connections such locks may keep. Raises DatabaseUnavailable when Postgres is
    away, or another holder does not let go within the statement timeout. The lock is known to be held only until its
    connection is lost, so what is done inside must also be safe to repeat.
    """
    # A holder keeps one connection and needs others to work with: never may holders take them all.
    done = False
    async with slots:
        try:
            async with database.transaction() as connection:
                await connection.execute(select(func.pg_advisory_xact_lock(_lock_number(topic, name))))
                yield
                done = True
        except DatabaseUnavailable:
            if not done:
                raise
            # The work is done and stands; that the lock's own connection was lost since takes nothing from it.
            _log.warning("the connection of a lock was lost while it was held", topic=topic)


def _lock_number(topic: str, name: str) -> int:
    """64 bits, signed as Postgres wants them; two names that share one merely wait for each other."""
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8, person=topic.encode()).digest()
    return int.from_bytes(digest, signed=True)
