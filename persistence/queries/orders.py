"""What the ledger knows of an order: what it sold, what came back, whether it was cancelled. Never writes."""

from __future__ import annotations

from collections import defaultdict

from msgspec import Struct
from sqlalchemy import select

from persistence.database import Database
from persistence.queries.transactions import Transaction, transactions_of
from persistence.tables import inventory_transactions

_LEDGER = inventory_transactions.c


class OrderUnits(Struct, frozen=True):
    """One SKU of an order, in units, each 0 or more."""

    sku: str
    sold: int
    returned: int
    """By RETURN rows."""
    put_back: int
    """By IN rows, which a cancellation makes."""

    @property
    def outstanding(self) -> int:
        """Units still with the customer, never below 0."""
        return max(0, self.sold - self.returned - self.put_back)


class OrderLedger(Struct, frozen=True):
    """Everything the ledger holds under reference `Order` / order id."""

    order_id: str
    units: tuple[OrderUnits, ...]
    """By SKU, in the order of first mention."""
    reservation_ids: tuple[str, ...]
    """Reservations that were confirmed for it, oldest first."""
    transactions: tuple[Transaction, ...]
    """Every row, oldest first."""

    @property
    def outstanding(self) -> tuple[OrderUnits, ...]:
        """SKUs of which units are still with the customer."""
        return tuple(one for one in self.units if one.outstanding)

    @property
    def put_backs(self) -> int:
        """How many adjustments its cancellation has made so far."""
        return len({(row.epoch, row.seq) for row in self.transactions if row.transaction_type == "IN"})

    @property
    def cancelled(self) -> bool:
        """True once units were put back by a cancellation."""
        return any(row.transaction_type == "IN" for row in self.transactions)


async def ledger_of(database: Database, order_id: str) -> OrderLedger | None:
    """The order's rows and sums; None when the ledger has no row of it. Raises DatabaseUnavailable."""
    statement = (
        select(inventory_transactions)
        .where(_LEDGER.reference_id == order_id, _LEDGER.reference_type == "Order")
        .order_by(_LEDGER.created_at, _LEDGER.id)
    )
    rows = transactions_of(await database.fetch(statement))
    if not rows:
        return None
    sums: dict[str, dict[str, int]] = {}
    for row in rows:
        by_type = sums.setdefault(row.sku, defaultdict(int))
        by_type[row.transaction_type] += row.quantity
    return OrderLedger(
        order_id=order_id,
        units=tuple(
            OrderUnits(sku, sold=-by_type["OUT"], returned=by_type["RETURN"], put_back=by_type["IN"])
            for sku, by_type in sums.items()
        ),
        reservation_ids=tuple(dict.fromkeys(row.reservation_id for row in rows if row.reservation_id)),
        transactions=rows,
    )
