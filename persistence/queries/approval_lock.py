"""One at a time over an approval: whoever decides it, or carries a decision out, holds this lock meanwhile.

Owns the name of the lock only; named_lock.py owns how it is held.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from persistence.database import Database
from persistence.named_lock import named_lock


def approval_lock(database: Database, approval_id: str) -> AbstractAsyncContextManager[None]:
    """Hold the lock of this approval inside the block; raises and promises what `named_lock` does.

    A return takes its order's lock inside, never the other way round.
    """
    return named_lock(database, database.outer_lock_slots, "approval lock", approval_id)
