"""The rows of bulk imports, and files that wait to be read: written with COPY, read in pieces.

Owns the statements; a hundred thousand rows never stand in memory at once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import psycopg
from msgspec import Struct
from sqlalchemy import ARRAY, BigInteger, Integer, Row, bindparam, delete, func, insert, select, update

from persistence.database import Database, Transaction
from persistence.pages import Page, checked_limit, page_of, read_cursor
from persistence.tables import import_files, import_rows, inventory_transactions

FILE_PART_BYTES: Final = 1_048_576

_ROW = import_rows.c
_FILE = import_files.c
_COPY: Final = 'COPY import_rows (import_id, "row", sku, quantity, "current", change, note) FROM STDIN'


class ImportRow(Struct, frozen=True):
    """A row that can be applied. `row` as a spreadsheet counts; the rest in units."""

    row: int
    sku: str
    quantity: int
    """As the file has it."""
    current: int
    """on_hand as the preview saw it."""
    change: int
    """What applying adds to on_hand."""
    note: str | None


class ChunkHead(Struct, frozen=True):
    """Where a chunk of changes begins."""

    takes: bool | None
    """True if every change in it is negative, False if every one is positive, None if it holds both."""
    first_row: int
    sku: str
    """Of the first row."""


async def add(transaction: Transaction, import_id: str, rows: Sequence[ImportRow]) -> None:
    """Append rows to an import."""
    raw = (await transaction.get_raw_connection()).driver_connection
    if not isinstance(raw, psycopg.AsyncConnection):
        raise TypeError("rows are copied with psycopg")
    async with raw.cursor() as cursor, cursor.copy(_COPY) as copy:
        for row in rows:
            await copy.write_row((import_id, row.row, row.sku, row.quantity, row.current, row.change, row.note))


async def clear(transaction: Transaction, import_id: str) -> None:
    """Forget the rows of an import."""
    await transaction.execute(delete(import_rows).where(_ROW.import_id == import_id))


async def after(database: Database, import_id: str, row: int, limit: int) -> tuple[ImportRow, ...]:
    """At most `limit` rows behind `row`, in order. Raises DatabaseUnavailable."""
    statement = select(import_rows).where(_ROW.import_id == import_id, _ROW.row > row).order_by(_ROW.row).limit(limit)
    return tuple(_import_row(found) for found in await database.fetch(statement))


async def change_page(
    database: Database, import_id: str, limit: int = 50, cursor: str | None = None
) -> Page[ImportRow]:
    """A page of the rows that change something, in file order. Raises InvalidCursor, DatabaseUnavailable; ValueError
    for the limit.
    """
    scope = ("import changes", import_id)
    statement = select(import_rows).where(_ROW.import_id == import_id, _ROW.change != 0).order_by(_ROW.row)
    if cursor is not None:
        (last_row,) = read_cursor(await database.cursor_key(), scope, cursor, (int,))
        statement = statement.where(_ROW.row > last_row)
    rows = await database.fetch(statement.limit(checked_limit(limit) + 1))
    return await page_of(rows, limit, _import_row, lambda row: (row.row,), key=database.cursor_key, scope=scope)


async def set_changes(transaction: Transaction, import_id: str, rows: Sequence[ImportRow]) -> None:
    """Make `change` of these rows what it says now."""
    fresh = select(
        func.unnest(bindparam("numbers", [row.row for row in rows], type_=ARRAY(Integer))).label("row"),
        func.unnest(bindparam("changes", [row.change for row in rows], type_=ARRAY(BigInteger))).label("change"),
    ).subquery("fresh")
    await transaction.execute(
        update(import_rows).where(_ROW.import_id == import_id, _ROW.row == fresh.c.row).values(change=fresh.c.change)
    )


async def chunk_heads(database: Database, import_id: str, size: int) -> tuple[ChunkHead, ...]:
    """Where each chunk of `size` changes begins: negative ones and positive ones apart, each in file order.

    The same rows always give the same chunks. Raises DatabaseUnavailable.
    """
    takes = (_ROW.change < 0).label("takes")
    place = func.row_number().over(partition_by=takes, order_by=_ROW.row).label("place")
    numbered = select(_ROW.row, _ROW.sku, takes, place).where(_ROW.import_id == import_id, _ROW.change != 0).subquery()
    statement = (
        select(numbered.c.takes, numbered.c.row, numbered.c.sku)
        .where((numbered.c.place - 1) % size == 0)
        .order_by(numbered.c.row)
    )
    return tuple(ChunkHead(row.takes, row.row, row.sku) for row in await database.fetch(statement))


async def chunk(database: Database, import_id: str, head: ChunkHead, size: int) -> tuple[ImportRow, ...]:
    """The rows of a chunk. Raises DatabaseUnavailable."""
    of_kind = {True: _ROW.change < 0, False: _ROW.change > 0, None: _ROW.change != 0}[head.takes]
    statement = (
        select(import_rows)
        .where(_ROW.import_id == import_id, _ROW.row >= head.first_row, of_kind)
        .order_by(_ROW.row)
        .limit(size)
    )
    return tuple(_import_row(row) for row in await database.fetch(statement))


async def ledger_rows(database: Database, import_id: str, skus: Sequence[str]) -> dict[str, int]:
    """How many ledger rows this import has made for each of `skus`; none: left out. Raises DatabaseUnavailable."""
    ledger = inventory_transactions.c
    statement = (
        select(ledger.sku, func.count().label("rows"))
        .where(
            ledger.reference_type == "Import",
            ledger.reference_id == import_id,
            ledger.sku == func.any(bindparam("skus", list(skus), type_=ARRAY(ledger.sku.type))),
        )
        .group_by(ledger.sku)
    )
    return {row.sku: row.rows for row in await database.fetch(statement)}


async def has_ledger_rows(database: Database, import_id: str) -> bool:
    """True if this import has made a ledger row. Raises DatabaseUnavailable."""
    ledger = inventory_transactions.c
    made = select(ledger.id).where(ledger.reference_type == "Import", ledger.reference_id == import_id).limit(1)
    return bool(await database.fetch(made))


async def keep_file(transaction: Transaction, import_id: str, part: int, data: bytes) -> None:
    """Keep one part of a file, counted from 0."""
    await transaction.execute(insert(import_files).values(import_id=import_id, part=part, data=data))


async def kept_file(database: Database, import_id: str) -> AsyncIterator[bytes]:
    """The parts of a file, in order; none when it is not kept any more. Raises DatabaseUnavailable."""
    part = 0
    while True:
        statement = select(_FILE.data).where(_FILE.import_id == import_id, _FILE.part == part)
        found = await database.fetch(statement)
        if not found:
            return
        yield bytes(found[0].data)
        part += 1


async def forget_file(transaction: Transaction, import_id: str) -> None:
    """Let the file go."""
    await transaction.execute(delete(import_files).where(_FILE.import_id == import_id))


def _import_row(row: Row[Any]) -> ImportRow:
    return ImportRow(row.row, row.sku, row.quantity, row.current, row.change, row.note)
