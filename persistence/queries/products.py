"""The catalogue: products by SKU, lists in SKU order, and the one write the API makes beside the engine.

Owns name and category. Settings that the engine enforces (safety stock, threshold, status) are written here first and
follow the engine's `configure` events afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

from msgspec import Struct
from sqlalchemy import Row, Select, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.sql import bindparam

from persistence.database import Database
from persistence.pages import Page, checked_limit, page_of, read_cursor
from persistence.tables import products

ProductStatus = Literal["active", "inactive"]

_PRODUCT = products.c
_COLUMNS: Final = ("sku", "name", "category", "low_stock_threshold", "safety_stock", "status")
"""Of the table, those that are put."""


class Product(Struct, frozen=True):
    """What the catalogue knows of a SKU; its stock is the engine's."""

    sku: str
    name: str
    category: str | None
    low_stock_threshold: int
    safety_stock: int
    status: ProductStatus
    created_at: datetime
    updated_at: datetime


_NEVER: Final = datetime.min.replace(tzinfo=UTC)
_NEW: Final = Product("", "", None, 0, 0, "active", _NEVER, _NEVER)
"""What a product is that nothing was said of."""


class ProductFilter(Struct, frozen=True):
    """Which products; None: any."""

    category: str | None = None
    status: ProductStatus | None = None
    q: str | None = None
    """Text that SKU or name contain, whatever the case."""


class ProductSettings(Struct, frozen=True, kw_only=True):
    """What can be said of a product. What is None keeps its value, or gets its default when the product is new."""

    sku: str
    name: str
    category: str | Literal[False] | None = None
    """False: none at all."""
    low_stock_threshold: int | None = None
    safety_stock: int | None = None
    status: ProductStatus | None = None


async def get(database: Database, sku: str) -> Product | None:
    """One product. Raises DatabaseUnavailable."""
    rows = await database.fetch(select(products).where(_PRODUCT.sku == sku))
    return _product(rows[0]) if rows else None


async def by_skus(database: Database, skus: Iterable[str]) -> dict[str, Product]:
    """The products of these SKUs, as many as are known, by SKU. Raises DatabaseUnavailable."""
    wanted = bindparam("skus", sorted(set(skus)), type_=ARRAY(_PRODUCT.sku.type))
    rows = await database.fetch(select(products).where(_PRODUCT.sku == func.any(wanted)))
    return {row.sku: _product(row) for row in rows}


async def every(database: Database) -> dict[str, Product]:
    """The whole catalogue by SKU: for lists over live stock. 100,000 products take about half a second.

    Raises DatabaseUnavailable.
    """
    return {row.sku: _product(row) for row in await database.fetch(select(products))}


async def thresholds(database: Database) -> dict[str, int]:
    """low_stock_threshold of every product that has one, by SKU. Raises DatabaseUnavailable."""
    rows = await database.fetch(
        select(_PRODUCT.sku, _PRODUCT.low_stock_threshold).where(_PRODUCT.low_stock_threshold > 0)
    )
    return {row.sku: row.low_stock_threshold for row in rows}


async def put_many(database: Database, wanted: Sequence[ProductSettings]) -> dict[str, Product]:
    """Make these products what is said here, creating those that are not there; as they are now, by SKU.

    Each SKU named once. Raises DatabaseUnavailable; safe to repeat.
    """
    # Always in one order, so that two writers cannot wait for each other.
    wanted = sorted(wanted, key=lambda one: one.sku)
    async with database.transaction() as connection:
        made = insert(products).from_select(_COLUMNS, _given([_settled(one, None) for one in wanted]))
        made = made.on_conflict_do_nothing()
        found = {row.sku: _product(row) for row in await connection.execute(made.returning(products))}
        there = [one for one in wanted if one.sku not in found]
        if there:
            # Locked before they are looked at: what is kept is what a writer at the same moment made of it.
            skus = bindparam("skus", [one.sku for one in there], type_=ARRAY(_PRODUCT.sku.type))
            locked = select(products).where(_PRODUCT.sku == func.any(skus)).order_by(_PRODUCT.sku).with_for_update()
            before = {row.sku: _product(row) for row in await connection.execute(locked)}
            given = _given([_settled(one, before[one.sku]) for one in there]).subquery()
            change = update(products).where(_PRODUCT.sku == given.c.sku)
            change = change.values({name: given.c[name] for name in _COLUMNS[1:]} | {"updated_at": func.now()})
            found |= {row.sku: _product(row) for row in await connection.execute(change.returning(products))}
    return found


def _settled(wanted: ProductSettings, before: Product | None) -> tuple[str | int | None, ...]:
    """What the product's row will say, in the order of _COLUMNS."""
    kept = before or _NEW
    return (
        wanted.sku,
        wanted.name,
        kept.category if wanted.category is None else wanted.category or None,
        kept.low_stock_threshold if wanted.low_stock_threshold is None else wanted.low_stock_threshold,
        kept.safety_stock if wanted.safety_stock is None else wanted.safety_stock,
        wanted.status or kept.status,
    )


def _given(rows: Sequence[tuple[str | int | None, ...]]) -> Select[Any]:
    """The rows as Postgres may select from them, in their order."""
    columns = [
        func.unnest(bindparam(f"given_{name}", [row[place] for row in rows], type_=ARRAY(_PRODUCT[name].type))).label(
            name
        )
        for place, name in enumerate(_COLUMNS)
    ]
    return select(*columns)


async def page(database: Database, filters: ProductFilter, limit: int = 50, cursor: str | None = None) -> Page[Product]:
    """A page of products in SKU order. Raises InvalidCursor, DatabaseUnavailable; ValueError for the limit."""
    scope = ("products", filters)
    statement = select(products).order_by(_PRODUCT.sku).limit(checked_limit(limit) + 1)
    if filters.category is not None:
        statement = statement.where(_PRODUCT.category == filters.category)
    if filters.status is not None:
        statement = statement.where(_PRODUCT.status == filters.status)
    if filters.q:
        sought = f"%{_escaped(filters.q)}%"
        statement = statement.where(
            or_(_PRODUCT.sku.ilike(sought, escape="\\"), _PRODUCT.name.ilike(sought, escape="\\"))
        )
    if cursor is not None:
        (last_sku,) = read_cursor(await database.cursor_key(), scope, cursor, (str,))
        statement = statement.where(_PRODUCT.sku > last_sku)
    rows = await database.fetch(statement)
    return await page_of(rows, limit, _product, lambda row: (row.sku,), key=database.cursor_key, scope=scope)


async def exists_any(database: Database) -> bool:
    """True if the catalogue has at least one product. Raises DatabaseUnavailable."""
    return bool(await database.fetch(select(text("1")).select_from(products).limit(1)))


def _product(row: Row[Any]) -> Product:
    # By place, the columns of the table being the fields of the struct: the whole catalogue passes through here.
    return Product(*row[: len(products.c)])


def _escaped(text_sought: str) -> str:
    """`text_sought` with what LIKE would take for a pattern taken literally."""
    return text_sought.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
