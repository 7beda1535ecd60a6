"""Products and their stock as people look for them: by a part of SKU or name, filtered, in any order. Never writes.

Stock is the ledger's copy, as current as the flusher; whoever shows it asks the engine for the counters of the page.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import Struct
from sqlalchemy import ColumnElement, Row, func, or_, select, text, tuple_

from persistence.database import Database
from persistence.pages import Page, checked_limit, page_of, read_cursor
from persistence.queries.products import ProductStatus
from persistence.tables import inventory_levels, products

StockOrder = Literal["sku", "name", "available", "on_hand", "reserved"]
StockState = Literal["in", "low", "out"]

CATEGORIES_SHOWN: Final = 200

_PRODUCT = products.c
_ON_HAND: Final = func.coalesce(inventory_levels.c.on_hand, 0)
_RESERVED: Final = func.coalesce(inventory_levels.c.reserved, 0)
_AVAILABLE: Final = func.greatest(_ON_HAND - _RESERVED - _PRODUCT.safety_stock, 0)
_ORDERS: Final[dict[StockOrder, ColumnElement[Any]]] = {
    "name": func.lower(_PRODUCT.name).collate("C"),
    "available": _AVAILABLE,
    "on_hand": _ON_HAND,
    "reserved": _RESERVED,
}
_STATES: Final[dict[StockState, ColumnElement[bool]]] = {
    "in": _AVAILABLE > 0,
    "low": (_AVAILABLE > 0) & (_PRODUCT.low_stock_threshold > _AVAILABLE),
    "out": _AVAILABLE == 0,
}
_CATEGORIES: Final = text(
    """
    WITH RECURSIVE found AS (
        (SELECT category FROM products WHERE category IS NOT NULL ORDER BY category LIMIT 1)
        UNION ALL
        SELECT (SELECT p.category FROM products p WHERE p.category > found.category ORDER BY p.category LIMIT 1)
        FROM found WHERE found.category IS NOT NULL
    )
    SELECT category FROM found WHERE category IS NOT NULL LIMIT :most
    """
)
"""From one category to the next by the index: the number of products does not matter."""


class StockRow(Struct, frozen=True):
    """A product, and its stock as the ledger has it."""

    sku: str
    name: str
    category: str | None
    status: ProductStatus
    low_stock_threshold: int
    safety_stock: int
    on_hand: int
    reserved: int


class StockFilter(Struct, frozen=True):
    """Which products, in which order; None: any."""

    q: str | None = None
    """Part of SKU or name, whatever the case."""
    category: str | None = None
    status: ProductStatus | None = None
    state: StockState | None = None
    order: StockOrder = "sku"
    descending: bool = False


async def page(database: Database, filters: StockFilter, limit: int = 50, cursor: str | None = None) -> Page[StockRow]:
    """A page of products. Raises InvalidCursor, DatabaseUnavailable; ValueError for the limit."""
    scope = ("stock_search", filters)
    by = _ORDERS.get(filters.order)
    columns = (
        *(_PRODUCT[name] for name in ("sku", "name", "category", "status", "low_stock_threshold", "safety_stock")),
        _ON_HAND.label("on_hand"),
        _RESERVED.label("reserved"),
        *(() if by is None else (by.label("position"),)),
    )
    statement = select(*columns).select_from(
        products.outerjoin(inventory_levels, inventory_levels.c.sku == _PRODUCT.sku)
    )
    if filters.q:
        sought = "%" + filters.q.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        statement = statement.where(
            or_(_PRODUCT.sku.ilike(sought, escape="\\"), _PRODUCT.name.ilike(sought, escape="\\"))
        )
    if filters.category is not None:
        statement = statement.where(_PRODUCT.category == filters.category)
    if filters.status is not None:
        statement = statement.where(_PRODUCT.status == filters.status)
    if filters.state is not None:
        statement = statement.where(_STATES[filters.state])
    key = [_PRODUCT.sku] if by is None else [by, _PRODUCT.sku]
    statement = statement.order_by(*(part.desc() if filters.descending else part.asc() for part in key))
    if cursor is not None:
        kinds = (str,) if by is None else (str if filters.order == "name" else int, str)
        position = tuple_(*key)
        last = tuple_(*read_cursor(await database.cursor_key(), scope, cursor, kinds))
        statement = statement.where(position < last if filters.descending else position > last)
    rows = await database.fetch(statement.limit(checked_limit(limit) + 1))
    return await page_of(
        rows,
        limit,
        _stock_row,
        lambda row: (row.sku,) if by is None else (row.position, row.sku),
        key=database.cursor_key,
        scope=scope,
    )


async def categories(database: Database) -> tuple[str, ...]:
    """The categories that products have, in order, CATEGORIES_SHOWN at most. Raises DatabaseUnavailable."""
    return tuple(row.category for row in await database.fetch(_CATEGORIES.bindparams(most=CATEGORIES_SHOWN)))


def _stock_row(row: Row[Any]) -> StockRow:
    # By place: the columns of the statement are the fields of the struct, in order.
    return StockRow(*row[: len(StockRow.__struct_fields__)])
