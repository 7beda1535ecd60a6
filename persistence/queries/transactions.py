"""The ledger as people read it: filtered lists newest first, and the rows of one event. Never writes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import Row, Select, select, tuple_

from persistence.database import Database
from persistence.pages import Page, checked_limit, page_of, position_time, read_cursor, time_position
from persistence.tables import inventory_transactions

_LEDGER = inventory_transactions.c


class Transaction(Struct, frozen=True):
    """One row of the ledger."""

    id: int
    sku: str
    transaction_type: str
    quantity: int
    """Signed change of on_hand, in units."""
    previous_stock: int
    new_stock: int
    reference_type: str | None
    reference_id: str | None
    reservation_id: str | None
    """The reservation that was sold; None for every other type than OUT."""
    reason: str | None
    created_by: str
    """Id of the API key."""
    created_at: datetime
    partition: int
    epoch: int
    seq: int
    line: int


class TransactionFilter(Struct, frozen=True):
    """Which rows; None: any."""

    sku: str | None = None
    transaction_type: str | None = None
    reference_type: str | None = None
    reference_id: str | None = None
    created_by: str | None = None
    from_time: datetime | None = None
    """Not before this moment."""
    to_time: datetime | None = None
    """Before this moment."""


async def page(
    database: Database, filters: TransactionFilter, limit: int = 50, cursor: str | None = None
) -> Page[Transaction]:
    """A page of the ledger, newest first. Raises InvalidCursor, DatabaseUnavailable; ValueError for the limit."""
    scope = ("transactions", filters)
    statement = _filtered(filters).limit(checked_limit(limit) + 1)
    statement = statement.order_by(_LEDGER.created_at.desc(), _LEDGER.id.desc())
    if cursor is not None:
        micros, row_id = read_cursor(await database.cursor_key(), scope, cursor, (int, int))
        before = tuple_(position_time(int(micros)), row_id)
        statement = statement.where(tuple_(_LEDGER.created_at, _LEDGER.id) < before)
    rows = await database.fetch(statement)
    return await page_of(
        rows,
        limit,
        transaction_of,
        lambda row: (time_position(row.created_at), row.id),
        key=database.cursor_key,
        scope=scope,
    )


async def of_event(database: Database, partition: int, epoch: int, seq: int) -> tuple[Transaction, ...]:
    """The rows that one journal event made, in line order; none before the flusher has passed `seq`.

    What the flusher had to put right before it (a negative line) is no part of the event.
    """
    statement = (
        select(inventory_transactions)
        .where(_LEDGER.partition == partition, _LEDGER.epoch == epoch, _LEDGER.seq == seq, _LEDGER.line >= 0)
        .order_by(_LEDGER.line)
    )
    return transactions_of(await database.fetch(statement))


def transaction_of(row: Row[Any]) -> Transaction:
    """A row of `inventory_transactions` as a struct."""
    return Transaction(
        id=row.id,
        sku=row.sku,
        transaction_type=row.transaction_type,
        quantity=row.quantity,
        previous_stock=row.previous_stock,
        new_stock=row.new_stock,
        reference_type=row.reference_type or None,
        reference_id=row.reference_id or None,
        reservation_id=row.reservation_id,
        reason=row.reason,
        created_by=row.created_by,
        created_at=row.created_at,
        partition=row.partition,
        epoch=row.epoch,
        seq=row.seq,
        line=row.line,
    )


def transactions_of(rows: Sequence[Row[Any]]) -> tuple[Transaction, ...]:
    """Rows of `inventory_transactions` as structs."""
    return tuple(transaction_of(row) for row in rows)


def _filtered(filters: TransactionFilter) -> Select[Any]:
    statement = select(inventory_transactions)
    for name in ("sku", "transaction_type", "reference_type", "reference_id", "created_by"):
        wanted = getattr(filters, name)
        if wanted is not None:
            statement = statement.where(_LEDGER[name] == wanted)
    if filters.transaction_type is not None and filters.transaction_type != "OUT":
        # Said again in the words of the partial index, so that it serves whatever the plan knows of the value.
        statement = statement.where(_LEDGER.transaction_type != "OUT")
    if filters.reference_type is not None and filters.reference_type not in {"Order", "Reservation"}:
        statement = statement.where(_LEDGER.reference_type != "Order", _LEDGER.reference_type != "Reservation")
    if filters.from_time is not None:
        statement = statement.where(_LEDGER.created_at >= filters.from_time)
    if filters.to_time is not None:
        statement = statement.where(_LEDGER.created_at < filters.to_time)
    return statement
