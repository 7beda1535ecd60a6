"""The catalogue changed: one product, or many at a time. Settings that decide about stock go to the engine as well.

Owns the order of the two: Postgres first, the engine second. A product without counters answers `unknown-sku` to a
reserve until the change is repeated, while counters without a product would sell something that has no name.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from engine.commands import Configure
from engine.results import Result, Status
from inventory.context import Inventory
from inventory.refusals import InvalidRequest, StockLimit
from persistence.queries import products
from persistence.queries.products import Product, ProductSettings


class ProductChange(ProductSettings, frozen=True, kw_only=True):
    """What is wanted of a product."""

    initial_stock: int = 0
    """Counts only when the product is made; then it becomes an IN row of the ledger."""


class PutProducts(Struct, frozen=True):
    """What a change left behind."""

    products: tuple[Product, ...]
    """In the order of the changes."""
    created: tuple[bool, ...]
    """Whether each was new to the engine."""
    seq: int
    """Once the ledger has passed it, all of this is in Postgres."""
    epoch: int
    """Of `seq`."""


async def put_product(inventory: Inventory, change: ProductChange, actor: str) -> tuple[Product, bool]:
    """Make or change one product; it, and whether it is new. Returns once the ledger has it; safe to repeat.

    Raises StockLimit, LedgerLate, Unavailable, DatabaseUnavailable.
    """
    put = await put_products(inventory, [change], actor)
    await inventory.committed(put.seq, put.epoch)
    return put.products[0], put.created[0]


async def put_products(inventory: Inventory, changes: Sequence[ProductChange], actor: str) -> PutProducts:
    """Make or change products, each SKU named once. Safe to repeat; the ledger may be a moment behind.

    Raises StockLimit, Unavailable, DatabaseUnavailable; by then some of the products may have been changed.
    """
    put = await products.put_many(inventory.database, changes)
    results = await inventory.engine.apply([_configure(change, put[change.sku], actor) for change in changes])
    _check(results)
    epoch, seq = max(((result.epoch, result.seq) for result in results), default=(0, 0))
    return PutProducts(
        tuple(put[change.sku] for change in changes), tuple(result.created for result in results), seq, epoch
    )


def _check(results: Sequence[Result]) -> None:
    for result in results:
        if result.status == Status.STOCK_LIMIT:
            raise StockLimit
        if result.status != Status.OK:
            raise InvalidRequest("not settings that the engine takes")


def _configure(change: ProductChange, product: Product, actor: str) -> Configure:
    # Each kept setting is kept by the engine too: between Postgres and here another change may have come to it.
    kept = {"s": change.safety_stock, "t": change.low_stock_threshold, "a": change.status}
    return Configure(
        sku=change.sku,
        safety_stock=product.safety_stock,
        low_stock_threshold=product.low_stock_threshold,
        active=product.status == "active",
        initial_stock=change.initial_stock,
        actor=actor,
        keeps="".join(letter for letter, wanted in kept.items() if wanted is None),
    )
