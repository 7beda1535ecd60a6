"""A store with a running flusher, the service's functions on it, and shoppers who never stop."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
import redis

from engine import Engine, EngineSettings, Rejected
from engine.bootstrap import open_partition
from engine.commands import Configure
from engine.keys import partition_keys
from inventory.context import Inventory, InventorySettings
from persistence.database import Database
from persistence.database_url import psycopg_url
from persistence.watermark import Watermark
from tests.waiting import eventually
from worker.flusher import Flusher, FlusherSettings

KEYS = partition_keys(0)
SKUS = tuple(f"S {n}" if n % 7 == 0 else f"S-{n}" for n in range(60))
QUICK = FlusherSettings(tick_ms=1, block_ms=20, stand_by_ms=30, report_every_ms=30, halted_retry_ms=60)


class Store:
    """Everything a test looks at or damages."""

    def __init__(self, inventory: Inventory, client: redis.Redis, redis_url: str, database_url: str) -> None:
        self.inventory = inventory
        self.engine = inventory.engine
        self.client = client
        self.redis_url = redis_url
        self.database_url = database_url
        self.flusher: Flusher
        self._thread: threading.Thread | None = None

    def start_flusher(self, settings: FlusherSettings = QUICK) -> None:
        self.flusher = Flusher(self.redis_url, self.database_url, settings)
        self._thread = threading.Thread(target=self.flusher.run, daemon=True)
        self._thread.start()

    def stop_flusher(self) -> None:
        if self._thread is not None:
            self.flusher.stop()
            self._thread.join(60)
            assert not self._thread.is_alive()
            self._thread = None

    def rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(psycopg_url(self.database_url), autocommit=True) as connection:
            found = connection.execute(query, arguments)
            return found.fetchall() if found.description else []

    def drift(self, sku: str, on_hand: int = 0, reserved: int = 0) -> None:
        """What nobody may do: change counters behind the engine's back, in one step as seen from others."""
        with self.client.pipeline() as pipe:
            while True:
                pipe.watch(KEYS.stock)
                have: Any = pipe.hget(KEYS.stock, sku)
                numbers = [int(number) for number in have.split()]
                numbers[0] += on_hand
                numbers[1] += reserved
                pipe.multi()
                pipe.hset(KEYS.stock, sku, " ".join(map(str, numbers)))
                try:
                    pipe.execute()
                    return
                except redis.WatchError:
                    continue

    def counters(self, sku: str) -> tuple[int, int]:
        have: Any = self.client.hget(KEYS.stock, sku)
        on_hand, reserved, *_ = [int(number) for number in have.split()]
        return on_hand, reserved

    async def flushed(self) -> None:
        """The ledger has all that the journal has."""

        async def caught_up() -> bool:
            seq = (await self.engine.journal_state()).seq
            return bool(self.rows("SELECT seq FROM journal_cursors") == [(seq,)])

        await eventually(caught_up, what="the ledger to catch up")

    @asynccontextmanager
    async def traffic(self, skus: tuple[str, ...] = SKUS, shoppers: int = 24) -> AsyncIterator[Callable[[], int]]:
        """Shoppers that reserve, amend, buy, let go and forget, until the block ends; gives how many came so far."""
        seed = random.randrange(10**6)
        print(f"seed {seed}")
        dice = random.Random(seed)
        came = 0
        stop = False

        async def shopper() -> None:
            nonlocal came
            while not stop:
                lines = [(sku, dice.randint(1, 2)) for sku in dice.sample(skus, dice.randint(1, min(3, len(skus))))]
                try:
                    hold = await self.engine.reserve(lines, customer_id="ann", ttl_ms=dice.choice([1000, 60_000]))
                    came += 1
                    if dice.random() < 0.3:
                        hold = await self.engine.amend(hold.id, [*lines[:1], (dice.choice(skus), 1)], ttl_ms=50_000)
                    match dice.randrange(4):
                        case 0:
                            await self.engine.confirm(hold.id, order_id=f"order-{came}")
                        case 1 | 2:
                            await self.engine.release(hold.id)
                except Rejected as refusal:
                    if refusal.result.status not in {"insufficient_stock", "expired"}:
                        raise

        tasks = [asyncio.create_task(shopper()) for _ in range(shoppers)]
        try:
            yield lambda: came
        finally:
            stop = True
            await asyncio.gather(*tasks)


@pytest.fixture
async def store(redis_url: str, redis_client: redis.Redis, database_url: str) -> AsyncIterator[Store]:
    open_partition(redis_client, 1, 0)
    engine = await Engine.connect(redis_url, EngineSettings())
    database, watermark = Database(database_url), Watermark(database_url)
    await watermark.start()
    inventory = Inventory(engine, database, watermark, InventorySettings(ledger_timeout_s=20.0))
    made = Store(inventory, redis_client, redis_url, database_url)
    made.start_flusher()
    await engine.apply([Configure(sku, 0, 0, True, 100_000, "admin") for sku in SKUS])
    yield made
    made.stop_flusher()
    await watermark.close()
    await database.close()
    await engine.close()
