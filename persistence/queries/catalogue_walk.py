"""The catalogue from one end to the other in SKU order, a piece at a time, however large it is. Never writes."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from sqlalchemy import Select, func, select

from persistence.database import Database
from persistence.queries.products import ProductStatus
from persistence.tables import products

_PRODUCT = products.c


class CatalogueFilter(Struct, frozen=True):
    """Which products; None: any."""

    category: str | None = None
    status: ProductStatus | None = None


class CatalogueEntry(Struct, frozen=True):
    """What a product is called."""

    sku: str
    name: str
    category: str | None


async def piece(
    database: Database, filters: CatalogueFilter, after_sku: str | None, limit: int
) -> tuple[CatalogueEntry, ...]:
    """The next `limit` products after `after_sku` (None: the first ones); fewer at the end.

    Raises DatabaseUnavailable.
    """
    statement = _filtered(select(_PRODUCT.sku, _PRODUCT.name, _PRODUCT.category), filters)
    statement = statement.order_by(_PRODUCT.sku).limit(limit)
    if after_sku is not None:
        statement = statement.where(_PRODUCT.sku > after_sku)
    return tuple(CatalogueEntry(row.sku, row.name, row.category) for row in await database.fetch(statement))


async def count(database: Database, filters: CatalogueFilter) -> int:
    """How many products there are. Raises DatabaseUnavailable."""
    rows = await database.fetch(_filtered(select(func.count()).select_from(products), filters))
    return int(rows[0][0])


def _filtered(statement: Select[Any], filters: CatalogueFilter) -> Select[Any]:
    if filters.category is not None:
        statement = statement.where(_PRODUCT.category == filters.category)
    if filters.status is not None:
        statement = statement.where(_PRODUCT.status == filters.status)
    return statement
