"""Announcements on their way into the journal: kept with what they tell, taken by the announcer, marked by the flusher.

Owns the table's statements but one: the flusher sets `announced_at` itself (ledger_writer.py). Never decides what is
told.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct
from sqlalchemy import delete, insert, select

from persistence.database import Database, Transaction
from persistence.tables import announcements

_ROW = announcements.c


class Announcement(Struct, frozen=True):
    """What the journal must be told, once."""

    id: int
    base: str
    event_type: str
    data: str
    """JSON."""


async def keep(transaction: Transaction, base: str, event_type: str, data: str) -> None:
    """Keep an announcement, if the transaction is committed."""
    await transaction.execute(insert(announcements).values(base=base, event_type=event_type, data=data))


async def waiting(database: Database, limit: int) -> list[Announcement]:
    """The oldest announcements that the ledger has not met in the journal yet. Raises DatabaseUnavailable."""
    rows = await database.fetch(
        select(_ROW.id, _ROW.base, _ROW.event_type, _ROW.data)
        .where(_ROW.announced_at.is_(None))
        .order_by(_ROW.id)
        .limit(limit)
    )
    return [Announcement(row.id, row.base, row.event_type, row.data) for row in rows]


async def forget(database: Database, announced_before: datetime, limit: int) -> int:
    """Delete up to `limit` rows announced before a moment; how many went. Raises DatabaseUnavailable."""
    old = select(_ROW.id).where(_ROW.announced_at < announced_before).order_by(_ROW.id).limit(limit)
    return len(await database.write(delete(announcements).where(_ROW.id.in_(old)).returning(_ROW.id)))
