"""Reservations that are over: the old ones forgotten in chunks, and those that should be over by now but are not.

Owns the statements; never decides what is old.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct
from sqlalchemy import select, text

from persistence.database import Database
from persistence.tables import stock_reservations

_RESERVATION = stock_reservations.c


class Place(Struct, frozen=True):
    """How far a walk over the reservations has come, oldest first."""

    created_at: datetime
    reservation_id: str


class Forgotten(Struct, frozen=True):
    """One chunk's outcome."""

    deleted: int
    place: Place | None
    """Where to go on; None at the end."""


class OverdueHold(Struct, frozen=True):
    """A reservation that the ledger has as ACTIVE behind its deadline."""

    id: str
    expires_at: datetime


_FORGET = text(
    """
    WITH looked AS (
        SELECT id, created_at FROM stock_reservations
        WHERE created_at < :before AND (created_at, id) > (CAST(:after_time AS timestamptz), :after_id)
        ORDER BY created_at, id LIMIT :chunk
    ), gone AS (
        DELETE FROM stock_reservations AS old USING looked
        WHERE old.id = looked.id AND old.status <> 'ACTIVE' AND old.ended_at < :before
        RETURNING old.id, old.created_at, old.lines
    ), held AS (
        DELETE FROM reservation_skus AS held
        USING (
            SELECT DISTINCT line ->> 'sku' AS sku, gone.created_at, gone.id
            FROM gone, jsonb_array_elements(gone.lines) AS line
        ) AS line
        WHERE held.sku = line.sku AND held.created_at = line.created_at AND held.reservation_id = line.id
    )
    SELECT looked.created_at, looked.id, (SELECT count(*) FROM gone) AS deleted, (SELECT count(*) FROM looked) AS seen
    FROM looked ORDER BY looked.created_at DESC, looked.id DESC LIMIT 1
    """
)


async def forget_ended(database: Database, before: datetime, after: Place | None, chunk: int) -> Forgotten:
    """Look at the next `chunk` reservations and delete those that ended before `before`, with their SKU entries.

    What is ACTIVE stays whatever its age. Raises DatabaseUnavailable.
    """
    after_time, after_id = ("-infinity", "") if after is None else (after.created_at.isoformat(), after.reservation_id)
    rows = await database.write(
        _FORGET.bindparams(before=before, after_time=after_time, after_id=after_id, chunk=chunk)
    )
    if not rows:
        return Forgotten(0, None)
    (row,) = rows
    return Forgotten(int(row.deleted), Place(row.created_at, row.id) if row.seen == chunk else None)


async def overdue(database: Database, since: datetime, until: datetime, limit: int) -> tuple[OverdueHold, ...]:
    """Up to `limit` ACTIVE reservations whose deadline lies from `since` to `until`. Raises DatabaseUnavailable."""
    statement = (
        select(_RESERVATION.id, _RESERVATION.expires_at)
        .where(_RESERVATION.status == "ACTIVE", _RESERVATION.expires_at >= since, _RESERVATION.expires_at < until)
        .order_by(_RESERVATION.expires_at)
        .limit(limit)
    )
    return tuple(OverdueHold(row.id, row.expires_at) for row in await database.fetch(statement))
