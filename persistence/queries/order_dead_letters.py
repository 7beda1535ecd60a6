"""Order events that could not be applied: set aside, listed newest first, tried again. Never applies one."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from msgspec import Struct
from sqlalchemy import Row, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from persistence.database import Database
from persistence.pages import Page, checked_limit, page_of, read_cursor
from persistence.tables import order_dead_letters

DeadLetterStatus = Literal["PENDING", "RESOLVED"]

_LETTER = order_dead_letters.c


class DeadLetter(Struct, frozen=True):
    """An order event that was set aside."""

    id: int
    stream: str
    stream_id: str
    """Of the entry, as Redis gave it."""
    body: bytes
    """The event as JSON; for an entry that was none, what it held instead."""
    order_id: str | None
    """None when the body could not even be read."""
    code: str
    """Problem code of the latest attempt."""
    detail: str
    attempts: int
    """Since it was set aside, that one counted."""
    status: DeadLetterStatus
    created_at: datetime
    updated_at: datetime
    resolved_by: str | None
    """Id of the API key with which a retry succeeded."""


async def put(
    database: Database, *, stream: str, stream_id: str, body: bytes, order_id: str | None, code: str, detail: str
) -> None:
    """Set an entry aside. The same entry again is another attempt of the same row. Raises DatabaseUnavailable."""
    statement = insert(order_dead_letters).values(
        stream=stream, stream_id=stream_id, body=body, order_id=order_id, code=code, detail=detail
    )
    new = statement.excluded
    await database.write(
        statement.on_conflict_do_update(
            index_elements=["stream", "stream_id"],
            set_={
                "body": new.body,
                "order_id": new.order_id,
                "code": new.code,
                "detail": new.detail,
                "attempts": _LETTER.attempts + 1,
                "status": "PENDING",
                "updated_at": func.now(),
                "resolved_by": None,
            },
        )
    )


async def get(database: Database, letter_id: int) -> DeadLetter | None:
    """One of them. Raises DatabaseUnavailable."""
    rows = await database.fetch(select(order_dead_letters).where(_LETTER.id == letter_id))
    return _letter(rows[0]) if rows else None


async def failed_again(database: Database, letter_id: int, code: str, detail: str) -> None:
    """Note that a retry was refused. Raises DatabaseUnavailable."""
    await database.write(
        update(order_dead_letters)
        .where(_LETTER.id == letter_id, _LETTER.status == "PENDING")
        .values(code=code, detail=detail, attempts=_LETTER.attempts + 1, updated_at=func.now())
    )


async def resolve(database: Database, letter_id: int, resolved_by: str) -> None:
    """Note that a retry succeeded; who did so first stays on record. Raises DatabaseUnavailable."""
    await database.write(
        update(order_dead_letters)
        .where(_LETTER.id == letter_id, _LETTER.status == "PENDING")
        .values(status="RESOLVED", resolved_by=resolved_by, attempts=_LETTER.attempts + 1, updated_at=func.now())
    )


async def page(
    database: Database, status: DeadLetterStatus | None, limit: int = 50, cursor: str | None = None
) -> Page[DeadLetter]:
    """A page of them, newest first. Raises InvalidCursor, DatabaseUnavailable; ValueError for the limit."""
    scope = ("order-dead-letters", status)
    statement = select(order_dead_letters).order_by(_LETTER.id.desc()).limit(checked_limit(limit) + 1)
    if status is not None:
        statement = statement.where(_LETTER.status == status)
    if cursor is not None:
        (last_id,) = read_cursor(await database.cursor_key(), scope, cursor, (int,))
        statement = statement.where(_LETTER.id < last_id)
    rows = await database.fetch(statement)
    return await page_of(rows, limit, _letter, lambda row: (row.id,), key=database.cursor_key, scope=scope)


async def forget(database: Database, resolved_before: datetime, limit: int) -> int:
    """Delete up to `limit` that were resolved before a moment; how many went. Raises DatabaseUnavailable."""
    old = (
        select(_LETTER.id)
        .where(_LETTER.status == "RESOLVED", _LETTER.updated_at < resolved_before)
        .order_by(_LETTER.id)
        .limit(limit)
    )
    return len(await database.write(delete(order_dead_letters).where(_LETTER.id.in_(old)).returning(_LETTER.id)))


def _letter(row: Row[Any]) -> DeadLetter:
    return DeadLetter(
        id=row.id,
        stream=row.stream,
        stream_id=row.stream_id,
        body=bytes(row.body),
        order_id=row.order_id,
        code=row.code,
        detail=row.detail,
        attempts=row.attempts,
        status=row.status,
        created_at=row.created_at,
        updated_at=row.updated_at,
        resolved_by=row.resolved_by,
    )
