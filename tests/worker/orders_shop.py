"""A shop that reports its orders by the stream, as the tests of it drive one.

Owns the appending and the looking; holds no test.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import redis

from engine import Configure, Engine, EngineSettings
from engine.bootstrap import open_partition
from inventory.context import Inventory, InventorySettings
from persistence.database import Database
from persistence.watermark import Watermark
from tests.waiting import eventually
from tests.worker.conftest import Rows
from worker.order_stream import OrderStreamSettings

STREAM = "holdfast:orders"


def quick(redis_url: str, **more: Any) -> OrderStreamSettings:
    chosen: dict[str, Any] = {
        "stream": STREAM,
        "redis_url": redis_url,
        "block_ms": 20,
        "claim_every_ms": 30,
        "claim_idle_ms": 200,
        "trim_every_ms": 20,
        "unknown_order_delays_ms": (20, 40, 80),
        "first_back_off_ms": 20,
        "last_back_off_ms": 100,
        **more,
    }
    return OrderStreamSettings(**chosen)


class OrdersShop:
    """A shop that only appends to the stream, and looks at what came of it."""

    def __init__(self, inventory: Inventory, client: redis.Redis, rows: Rows) -> None:
        self.inventory, self.client, self.rows = inventory, client, rows

    async def sku(self, name: str, stock: int = 10) -> str:
        result = await self.inventory.engine.execute(Configure(name, 0, 0, True, stock, "tests"))
        assert result.status == "ok"
        return name

    async def hold(self, sku: str, quantity: int = 1, **more: Any) -> str:
        held = await self.inventory.engine.reserve([(sku, quantity)], customer_id="ann", caller="storefront", **more)
        return held.id

    async def level(self, sku: str) -> tuple[int, int]:
        (level,) = await self.inventory.engine.stock_levels([sku])
        return level.on_hand, level.reserved

    def tell(self, event: dict[str, Any] | bytes | str) -> str:
        body = json.dumps(event) if isinstance(event, dict) else event
        return self.client.xadd(STREAM, {"event": body}).decode()  # type: ignore[union-attr]

    def created(self, order: str, *ids: str) -> str:
        return self.tell({"type": "order.created", "order_id": order, "reservation_ids": list(ids)})

    def cancelled(self, order: str, **more: Any) -> str:
        return self.tell({"type": "order.cancelled", "order_id": order, **more})

    def movements(self, order: str) -> list[tuple[str, str, int, str]]:
        return self.rows(  # type: ignore[return-value]
            "SELECT transaction_type, sku, quantity::int, created_by FROM inventory_transactions"
            " WHERE reference_id = %s ORDER BY id",
            order,
        )

    def dead(self) -> list[tuple[str, str, int]]:
        return self.rows("SELECT stream_id, code, attempts FROM order_dead_letters ORDER BY id")  # type: ignore[return-value]

    def left(self) -> int:
        """Entries that somebody still has to do something about."""
        try:
            groups = self.client.xinfo_groups(STREAM)
        except redis.ResponseError:
            return -1
        if not groups:
            return -1
        return self.client.xlen(STREAM) + sum(one["pending"] for one in groups)  # type: ignore

    async def all_done(self) -> None:
        """Everything acknowledged and trimmed."""
        await eventually(lambda: self.left() == 0, what="the stream is empty")


@asynccontextmanager
async def open_shop(redis_url: str, database_url: str) -> AsyncIterator[OrdersShop]:
    """A shop on a partition of its own; somebody else runs the flusher."""
    with redis.Redis.from_url(redis_url) as client:
        open_partition(client, epoch=1, ledger_seq=0)
        engine = await Engine.connect(redis_url, EngineSettings(epoch=1))
        database, watermark = Database(database_url), Watermark(database_url)
        await watermark.start()
        yield OrdersShop(Inventory(engine, database, watermark, InventorySettings()), client, Rows(database_url))
        await watermark.close()
        await database.close()
        await engine.close()
