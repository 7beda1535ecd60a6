"""One at a time over an order: whoever reads what an order has left, and then changes it, holds this lock meanwhile.

Owns the lock only. It lives in Postgres, so it holds across processes, and ends with its connection: a holder that is
killed leaves nothing locked.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import blake2b

from sqlalchemy import func, select

from persistence.database import Database


@asynccontextmanager
async def order_lock(database: Database, order_id: str) -> AsyncIterator[None]:
    """Hold the lock of `order_id` inside the block.

    Raises DatabaseUnavailable when Postgres is away, or another holder lets it go not within the statement timeout.
    It is known to be held only until its connection is lost, so what is done inside must also be safe to repeat.
    """
    # A holder keeps one connection and needs others to work with: never may holders take them all.
    async with database.lock_slots, database.transaction() as connection:
        await connection.execute(select(func.pg_advisory_xact_lock(_lock_number(order_id))))
        yield


def _lock_number(order_id: str) -> int:
    """64 bits, signed as Postgres wants them; two orders that share one merely wait for each other."""
    digest = blake2b(order_id.encode("utf-8", "surrogatepass"), digest_size=8, person=b"order lock").digest()
    return int.from_bytes(digest, signed=True)
