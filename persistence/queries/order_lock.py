"""One at a time over an order: whoever reads what an order has left, and then changes it, holds this lock meanwhile.

Owns the name of the lock only; named_lock.py owns how it is held.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from persistence.database import Database
from persistence.named_lock import named_lock


def order_lock(database: Database, order_id: str) -> AbstractAsyncContextManager[None]:
    """Hold the lock of `order_id` inside the block; raises and promises what `named_lock` does."""
    return named_lock(database, database.lock_slots, "order lock", order_id)
