"""A store whose journal a test hands to the evaluator itself, and Postgres read as plain rows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
import redis
from msgspec import structs

from engine import Adjust, Configure, Engine
from engine.identity import random_base
from engine.journal import JournalReader
from inventory.alerts.evaluator import StockAlerts
from inventory.context import Inventory, InventorySettings
from inventory.rules import AlertRules
from persistence.database import Database
from persistence.database_url import psycopg_url
from persistence.journal_entries import JournalEntry, read_entry
from persistence.watermark import Watermark

RULES = AlertRules(hysteresis_percent=10, quiet_ms=300_000)


class Shop:
    """Stock that moves, and its alerts."""

    def __init__(self, inventory: Inventory, client: redis.Redis, url: str) -> None:
        self.inventory = inventory
        self.engine = inventory.engine
        self.client = client
        self.url = psycopg_url(url)
        self._read_to = "0-0"
        self._evaluator = self.evaluator()

    def evaluator(self, rules: AlertRules = RULES) -> StockAlerts:
        return StockAlerts(self.engine.stock_levels, rules)

    def with_settings(self, **settings: Any) -> Inventory:
        return structs.replace(self.inventory, settings=structs.replace(self.inventory.settings, **settings))

    def rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            found = connection.execute(query, arguments)
            return found.fetchall() if found.description else []

    async def product(self, sku: str, stock: int, threshold: int = 0, *, safety: int = 0, active: bool = True) -> None:
        assert (await self.engine.execute(Configure(sku, safety, threshold, active, stock, "tests"))).status == "ok"

    async def adjust(self, sku: str, change: int) -> None:
        line = (sku, "add" if change > 0 else "remove", abs(change))
        command = Adjust(random_base(), (line,), "IN" if change > 0 else "ADJUSTMENT", "why", "T", "", "tests")
        assert (await self.engine.execute(command)).status == "ok"

    async def hold(self, sku: str, quantity: int) -> str:
        return (await self.engine.reserve([(sku, quantity)], customer_id="ann")).id

    def unread(self) -> list[JournalEntry]:
        """What the journal has that was not read yet."""
        found = JournalReader(self.client, 0).read(self._read_to, 1000, 0)
        if found:
            self._read_to = found[-1][0]
        entries = [read_entry(*one) for one in found]
        assert all(isinstance(entry, JournalEntry) for entry in entries)
        return entries  # type: ignore[return-value]

    async def follow(self, evaluator: StockAlerts | None = None) -> list[JournalEntry]:
        """One batch of everything since the last."""
        entries = self.unread()
        await self.take(entries, evaluator)
        return entries

    async def take(self, entries: list[JournalEntry], evaluator: StockAlerts | None = None) -> None:
        async with self.inventory.database.transaction() as transaction:
            await (evaluator or self._evaluator).take(transaction, entries)

    def alerts(self, sku: str | None = None) -> list[tuple[str, str, str]]:
        """(kind, status, episode), oldest first."""
        return self.rows(
            "SELECT kind, status, episode FROM alerts WHERE coalesce(%s, sku) = sku ORDER BY id",
            sku,
        )

    def told(self) -> list[str]:
        """Types of what was announced, in order."""
        return [kind for (kind,) in self.rows("SELECT event_type FROM announcements ORDER BY id")]


@pytest.fixture
async def shop(
    engine: Engine, redis_url: str, redis_client: redis.Redis, database_url: str, known_keys: list[str]
) -> AsyncIterator[Shop]:
    known_keys.append(r"\{h00\}:r:.*")
    database = Database(database_url)
    watermark = Watermark(database_url)
    inventory = Inventory(engine, database, watermark, InventorySettings(alerts=RULES))
    yield Shop(inventory, redis_client, database_url)
    await database.close()
