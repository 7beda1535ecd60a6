"""Stock as Postgres has it: the flusher's copy of the counters, in SKU order. Never the truth of this moment."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import Row, select

from persistence.database import Database
from persistence.pages import Page, checked_limit, page_of, read_cursor
from persistence.tables import inventory_levels

_LEVEL = inventory_levels.c


class StoredLevel(Struct, frozen=True):
    """Units of a SKU after the journal event `seq`."""

    sku: str
    on_hand: int
    reserved: int
    partition: int
    seq: int
    updated_at: datetime


async def page(database: Database, limit: int = 50, cursor: str | None = None) -> Page[StoredLevel]:
    """A page of levels in SKU order. Raises InvalidCursor, DatabaseUnavailable; ValueError for the limit."""
    statement = select(inventory_levels).order_by(_LEVEL.sku).limit(checked_limit(limit) + 1)
    if cursor is not None:
        (last_sku,) = read_cursor(await database.cursor_key(), "levels", cursor, (str,))
        statement = statement.where(_LEVEL.sku > last_sku)
    rows = await database.fetch(statement)
    return await page_of(rows, limit, _level, lambda row: (row.sku,), key=database.cursor_key, scope="levels")


def _level(row: Row[Any]) -> StoredLevel:
    return StoredLevel(
        sku=row.sku,
        on_hand=row.on_hand,
        reserved=row.reserved,
        partition=row.partition,
        seq=row.seq,
        updated_at=row.updated_at,
    )
