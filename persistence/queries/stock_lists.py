"""Which SKUs are low or out by the ledger's own levels, lowest first. As current as the flusher; never writes.

No index on levels serves it: that would cost every flush more than a walk over 100,000 rows costs a reader. Most
rows of that walk are done with at once, being above what any product's settings could call low.
"""

from __future__ import annotations

from typing import Final, Literal

from sqlalchemy import ColumnElement, func, select, tuple_

from persistence.database import Database
from persistence.tables import inventory_levels, products

StockList = Literal["low", "out"]

_LEVEL = inventory_levels.c
_PRODUCT = products.c
_EVERY = products.alias().c
_FREE: Final = _LEVEL.on_hand - _LEVEL.reserved - _PRODUCT.safety_stock
_AVAILABLE: Final = func.greatest(_FREE, 0)
_REACH: Final = select(func.max(_EVERY.low_stock_threshold + _EVERY.safety_stock)).scalar_subquery()
_WANTED: Final[dict[StockList, ColumnElement[bool]]] = {
    "low": (_FREE > 0) & (_PRODUCT.low_stock_threshold > _FREE),
    "out": _FREE <= 0,
}


async def candidates(
    database: Database, which: StockList, limit: int, after: tuple[int, str] | None = None
) -> list[tuple[int, str]]:
    """(available, SKU) of up to `limit` SKUs behind the position `after`, in this order. Raises DatabaseUnavailable."""
    statement = (
        select(_AVAILABLE.label("available"), _LEVEL.sku)
        .join_from(inventory_levels, products, _LEVEL.sku == _PRODUCT.sku)
        .where(_WANTED[which], _LEVEL.on_hand - _LEVEL.reserved <= _REACH)
        .order_by(_AVAILABLE, _LEVEL.sku)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(tuple_(_AVAILABLE, _LEVEL.sku) > tuple_(*after))
    return [(row.available, row.sku) for row in await database.fetch(statement)]
