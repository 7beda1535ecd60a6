"""The ledger as rows for a spreadsheet: what a filter finds, newest first, a piece at a time.

Owns which fields a row has; the files made of them stand in export_files.py. Never holds more than one piece in memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC
from typing import TYPE_CHECKING

from msgspec import Struct

from persistence.pages import MAX_LIMIT
from persistence.queries import transactions

if TYPE_CHECKING:
    from inventory.context import Inventory
    from persistence.queries.transactions import Transaction, TransactionFilter


class LedgerRow(Struct, frozen=True):
    """One movement. The fields are the columns, in order; quantities in units."""

    id: int
    created_at: str
    """RFC 3339, UTC."""
    sku: str
    transaction_type: str
    quantity: int
    previous_stock: int
    new_stock: int
    reference_type: str
    reference_id: str
    reason: str
    created_by: str


async def ledger_rows(inventory: Inventory, filters: TransactionFilter) -> AsyncIterator[list[LedgerRow]]:
    """Every row that the filter finds, in pieces, as the ledger stood when the first was read: what comes later is
    newer than that, and rows of a ledger never change. Raises DatabaseUnavailable at any piece.
    """
    cursor: str | None = None
    while True:
        page = await transactions.page(inventory.database, filters, MAX_LIMIT, cursor)
        yield [_row(one) for one in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return


def _row(one: Transaction) -> LedgerRow:
    return LedgerRow(
        one.id,
        one.created_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        one.sku,
        one.transaction_type,
        one.quantity,
        one.previous_stock,
        one.new_stock,
        one.reference_type or "",
        one.reference_id or "",
        one.reason or "",
        one.created_by,
    )
