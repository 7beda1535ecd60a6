"""The catalogue and the stock: products, what is on hand, what is low, levels.

Owns these operations; changes of stock stand in changes.py.
"""

from __future__ import annotations

from holdfast_client.answers.shop import Level, Page, Product, ProductState, StockStatus
from holdfast_client.asking import Asking, as_, page_of
from holdfast_client.driving import operation, streamed
from holdfast_client.paths import given
from holdfast_client.steps import Call, Steps, Stream


class StockOperations(Asking):
    """Products and their stock."""

    @operation
    def put_product(
        self,
        sku: str,
        name: str,
        *,
        category: str | None = None,
        low_stock_threshold: int | None = None,
        safety_stock: int | None = None,
        status: ProductState | None = None,
        initial_stock: int | None = None,
    ) -> Steps[Product]:
        """Make a product, or change one: what is None keeps its value. `initial_stock` counts only when it is made.

        A `category` of "" takes the product out of its category.
        """
        body = given(
            name=name,
            low_stock_threshold=low_stock_threshold,
            safety_stock=safety_stock,
            status=status,
            initial_stock=initial_stock,
        )
        if category is not None:
            body["category"] = category or None
        return (yield from self._ask(Call("/inventory/products/{}", "PUT", as_(Product), (sku,), body=body)))

    @operation
    def get_product(self, sku: str) -> Steps[Product]:
        """One product of the catalogue. Raises UnknownSku."""
        return (yield from self._ask(Call("/inventory/products/{}", "GET", as_(Product), (sku,))))

    @streamed(Product)
    def list_products(
        self,
        *,
        category: str | None = None,
        status: ProductState | None = None,
        q: str | None = None,
        page_size: int | None = None,
    ) -> Stream:
        """Products by SKU. `q`: part of a SKU or name. `page_size`: 1 to 500 products a request."""

        def page(cursor: str | None) -> Call[Page[Product]]:
            query = {"category": category, "status": status, "q": q, "limit": page_size, "cursor": cursor}
            return Call("/inventory/products", "GET", page_of(Product), query=query)

        yield from self._walk(page)

    @operation
    def stock_status(self, sku: str) -> Steps[StockStatus]:
        """On hand, reserved and available, live from the counters. Raises UnknownSku."""
        return (yield from self._ask(Call("/inventory/products/{}/status", "GET", as_(StockStatus), (sku,))))

    @streamed(StockStatus)
    def low_stock(self, *, page_size: int | None = None) -> Stream:
        """Products with something left, but less than their threshold; lowest first."""
        yield from self._stock_list("/inventory/low-stock", page_size)

    @streamed(StockStatus)
    def out_of_stock(self, *, page_size: int | None = None) -> Stream:
        """Products with nothing left."""
        yield from self._stock_list("/inventory/out-of-stock", page_size)

    def _stock_list(self, path: str, page_size: int | None) -> Stream:
        def page(cursor: str | None) -> Call[Page[StockStatus]]:
            return Call(path, "GET", page_of(StockStatus), query={"limit": page_size, "cursor": cursor})

        yield from self._walk(page)

    @streamed(Level)
    def list_levels(self, *, page_size: int | None = None) -> Stream:
        """On hand and reserved of every SKU as the ledger has it, each with the event it is true after."""

        def page(cursor: str | None) -> Call[Page[Level]]:
            query = {"limit": page_size, "cursor": cursor}
            return Call("/inventory/levels", "GET", page_of(Level), query=query)

        yield from self._walk(page)
