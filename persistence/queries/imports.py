"""Bulk imports in Postgres: what each is and how far it has come, its rows, and the lock of whoever is working on it.

Owns the statements; never decides what a status means or which may follow another (inventory/bulk/).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct
from sqlalchemy import Row, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from persistence.database import Database, Transaction
from persistence.pages import Page, checked_limit, page_of, position_time, read_cursor, time_position
from persistence.tables import imports

ImportMode = Literal["set", "add"]
ImportStatus = Literal[
    "PREVIEWING",
    "PREVIEW",
    "EXPIRED",
    "APPLYING",
    "UNDOING",
    "APPLIED",
    "REVERTING",
    "RESTORING",
    "REVERTED",
    "FAILED",
]
WORKING: Final[tuple[ImportStatus, ...]] = ("PREVIEWING", "APPLYING", "UNDOING", "REVERTING", "RESTORING")
"""Statuses that somebody must be working on; each ends in another one."""

_IMPORT = imports.c


class RowError(Struct, frozen=True):
    """One thing that is wrong with one row; `row` as a spreadsheet counts, the header being 1."""

    row: int
    column: str
    code: str
    message: str


class MovedRow(Struct, frozen=True):
    """A row whose stock is no longer what the preview saw."""

    row: int
    sku: str
    expected: int
    on_hand: int


class ShortRow(Struct, frozen=True):
    """A SKU that has fewer units free of holds than would be taken."""

    sku: str
    requested: int
    available: int


class Failure(Struct, frozen=True, omit_defaults=True):
    """Why the last step was refused: code and sentence of the refusal, and the rows that stood in its way."""

    code: str
    detail: str = ""
    rows: tuple[MovedRow, ...] = ()
    shortages: tuple[ShortRow, ...] = ()
    skus: tuple[str, ...] = ()
    """SKUs that are no longer there."""


class Import(Struct, frozen=True):
    """One import. Counts are rows of its file."""

    id: str
    mode: ImportMode
    status: ImportStatus
    reason: str
    file_name: str
    fingerprint: str
    created_by: str
    created_at: datetime
    updated_at: datetime
    expires_at: datetime
    rows: int
    valid: int
    changed: int
    error_count: int
    errors: tuple[RowError, ...]
    force: bool
    checked: bool
    actor: str
    done: int
    failure: Failure | None
    applied_at: datetime | None
    reverted_at: datetime | None


_FIELDS: Final = frozenset(Import.__struct_fields__)


async def create(transaction: Transaction, **values: Any) -> bool:
    """Make an import of these values; False if there is one with its id already."""
    made = await transaction.execute(
        insert(imports).values(**_stored(values)).on_conflict_do_nothing().returning(_IMPORT.id)
    )
    return made.first() is not None


async def get(database: Database, import_id: str) -> Import | None:
    """One import. Raises DatabaseUnavailable."""
    rows = await database.fetch(select(imports).where(_IMPORT.id == import_id))
    return _import(rows[0]) if rows else None


async def move(transaction: Transaction, import_id: str, before: ImportStatus, **values: Any) -> bool:
    """Change an import that has the status `before`; False, and nothing changed, if it has another by now."""
    changed = await transaction.execute(
        update(imports)
        .where(_IMPORT.id == import_id, _IMPORT.status == before)
        .values(**_stored(values), updated_at=func.now())
        .returning(_IMPORT.id)
    )
    return changed.first() is not None


async def page(database: Database, created_by: str | None, limit: int = 50, cursor: str | None = None) -> Page[Import]:
    """A page of imports, newest first; of one caller, or of all for None. Raises InvalidCursor, DatabaseUnavailable;
    ValueError for the limit.
    """
    scope = ("imports", created_by)
    statement = select(imports).order_by(_IMPORT.created_at.desc(), _IMPORT.id.desc()).limit(checked_limit(limit) + 1)
    if created_by is not None:
        statement = statement.where(_IMPORT.created_by == created_by)
    if cursor is not None:
        micros, last_id = read_cursor(await database.cursor_key(), scope, cursor, (int, str))
        moment = position_time(int(micros))
        older = (_IMPORT.created_at < moment) | ((_IMPORT.created_at == moment) & (_IMPORT.id < str(last_id)))
        statement = statement.where(older)
    rows = await database.fetch(statement)
    return await page_of(
        rows,
        limit,
        _import,
        lambda row: (time_position(row.created_at), row.id),
        key=database.cursor_key,
        scope=scope,
    )


async def unfinished(database: Database, idle_s: float) -> Sequence[str]:
    """Ids of imports that somebody should be working on, and nobody has for `idle_s` seconds, oldest first."""
    statement = (
        select(_IMPORT.id)
        .where(_IMPORT.status.in_(WORKING), _IMPORT.updated_at < func.now() - timedelta(seconds=idle_s))
        .order_by(_IMPORT.updated_at)
    )
    return [row.id for row in await database.fetch(statement)]


async def expired(database: Database, limit: int) -> Sequence[str]:
    """Ids of at most `limit` previews that nobody applied in time."""
    statement = select(_IMPORT.id).where(_IMPORT.status == "PREVIEW", _IMPORT.expires_at <= func.now()).limit(limit)
    return [row.id for row in await database.fetch(statement)]


async def forget(database: Database, before: datetime) -> int:
    """Forget one import that has rested since `before`, the oldest, with its rows; 0 if there is none.

    The ledger keeps what it did. Raises DatabaseUnavailable.
    """
    oldest = (
        select(_IMPORT.id)
        .where(_IMPORT.status.not_in(WORKING), _IMPORT.updated_at < before)
        .order_by(_IMPORT.updated_at)
        .limit(1)
    )
    return len(await database.write(delete(imports).where(_IMPORT.id.in_(oldest)).returning(_IMPORT.id)))


@asynccontextmanager
async def claimed(database: Database, import_id: str) -> AsyncIterator[bool]:
    """True for the one who may work on this import inside the block; False while another does.

    The claim is a lock of its Postgres session, so it ends with the process that holds it. It is known to be held only
    until its connection is lost: what is done inside must also be safe to repeat. Raises DatabaseUnavailable.
    """
    async with database.lock_slots, database.transaction() as connection:
        lock = func.pg_try_advisory_xact_lock(_lock_number(import_id))
        yield bool((await connection.execute(select(lock))).scalar())


def _lock_number(import_id: str) -> int:
    digest = blake2b(import_id.encode(), digest_size=8, person=b"import claim").digest()
    return int.from_bytes(digest, signed=True)


def _stored(values: dict[str, Any]) -> dict[str, Any]:
    """Values with structs as JSON can carry them. Raises ValueError for a column that is none."""
    unknown = values.keys() - _FIELDS
    if unknown:
        raise ValueError(f"no such columns: {sorted(unknown)}")
    json = (name for name in ("errors", "failure") if name in values)
    return values | {name: msgspec.to_builtins(values[name]) for name in json}


def _import(row: Row[Any]) -> Import:
    # By place, the columns of the table being the fields of the struct.
    return msgspec.convert(dict(zip(Import.__struct_fields__, row, strict=True)), Import)
