"""Two changes of one product at the same moment, each of another setting: both stand, whoever comes first where."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec import structs

from engine import Engine
from engine.results import StockLevel
from inventory.products import ProductChange, put_product
from persistence.queries import products
from tests.inventory.stock.conftest import Desk


class Overtaken:
    """An engine whose first call arrives after the second has been answered."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._second = asyncio.Event()
        self.first_is_here = asyncio.Event()

    async def apply(self, commands: Any) -> Any:
        if not self.first_is_here.is_set():
            self.first_is_here.set()
            await self._second.wait()
            return await self._engine.apply(commands)
        results = await self._engine.apply(commands)
        self._second.set()
        return results

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


@pytest.mark.parametrize("known", [True, False], ids=["one that is there", "a new product"])
async def test_the_engine_is_reached_in_the_other_order(desk: Desk, known: bool) -> None:
    sku = await desk.sku(50) if known else "AT-ONCE"
    engine = Overtaken(desk.inventory.engine)
    inventory = structs.replace(desk.inventory, engine=engine)

    def put(**wanted: Any) -> asyncio.Task[Any]:
        change = ProductChange(sku=sku, name="Mug", initial_stock=50, **wanted)
        return asyncio.create_task(put_product(inventory, change, "ann"))

    first = put(low_stock_threshold=5, status="inactive")
    await engine.first_is_here.wait()
    await asyncio.gather(first, put(safety_stock=3))
    await desk.settle()

    (level,) = await desk.engine.stock_levels([sku])
    assert level == StockLevel(sku, 50, 0, 3, 5, False)
    product = await products.get(desk.inventory.database, sku)
    assert product is not None
    assert (product.low_stock_threshold, product.safety_stock, product.status) == (5, 3, "inactive")
