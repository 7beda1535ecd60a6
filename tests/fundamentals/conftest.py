"""What the tutorial stands on: an engine, and a shop with two products in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from engine import Configure, Engine, StockLevel

Level = Callable[[str], Awaitable[StockLevel]]


@pytest.fixture
async def shop(engine: Engine) -> Engine:
    """10 teapots and 5 cups, and a clock that stands still until a test moves it."""
    engine.batcher.clock_ms = 1_800_000_000_000
    for sku, units in (("TEAPOT", 10), ("CUP", 5)):
        await engine.execute(
            Configure(sku, safety_stock=0, low_stock_threshold=0, active=True, initial_stock=units, actor="admin")
        )
    return engine


@pytest.fixture
def level(engine: Engine) -> Level:
    async def look(sku: str) -> StockLevel:
        (found,) = await engine.availability([sku])
        return found

    return look
