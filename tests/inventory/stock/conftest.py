"""A store with a running flusher, and the people who change its stock by hand."""

from __future__ import annotations

import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from msgspec import Struct, structs

from engine import Engine, EngineSettings
from engine.bootstrap import open_partition
from engine.commands import Configure, Confirm
from engine.identity import split_id
from inventory import approvals
from inventory.context import Inventory, InventorySettings
from inventory.stock_changes import StockChange, change_stock
from persistence.database import Database
from persistence.database_url import psycopg_url
from persistence.queries.approvals import Approval
from persistence.queries.transactions import Transaction
from persistence.watermark import Watermark
from runtime.embedded_postgres import EmbeddedPostgres
from runtime.embedded_redis import EmbeddedRedis
from tests.key_leaks import leaked_keys
from worker.flusher import Flusher, FlusherSettings

LIMIT = 10
"""Units that one person may move."""
CLERK, ANN, BEN = "clerk", "ann", "ben"
QUICK = FlusherSettings(tick_ms=1, block_ms=20, stand_by_ms=30, report_every_ms=50)


class Desk:
    """Short ways to what most tests need. CLERK asks, ANN and BEN decide."""

    def __init__(self, inventory: Inventory, client: redis.Redis, url: str) -> None:
        self.inventory = inventory
        self.engine = inventory.engine
        self.client = client
        self.url = psycopg_url(url)
        self._run = uuid.uuid4().hex

    def rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            found = connection.execute(query, arguments)
            return found.fetchall() if found.description else []

    def with_settings(self, **settings: Any) -> Inventory:
        return structs.replace(self.inventory, settings=structs.replace(self.inventory.settings, **settings))

    async def sku(self, stock: int) -> str:
        sku = f"T-{uuid.uuid4().hex[:12]}"
        assert (await self.engine.execute(Configure(sku, 0, 0, True, stock, "tests"))).status == "ok"
        return sku

    async def level(self, sku: str) -> tuple[int, int]:
        (level,) = await self.engine.stock_levels([sku])
        return level.on_hand, level.reserved

    async def hold(self, sku: str, quantity: int) -> str:
        return (await self.engine.reserve([(sku, quantity)], customer_id="cleo")).id

    async def sell(self, order: str, *lines: tuple[str, int]) -> None:
        """An order of these lines, in the ledger."""
        held = await self.engine.reserve(lines, customer_id="cleo")
        result = await self.engine.execute(Confirm((split_id(held.id),), order))
        assert result.status == "ok"
        await self.inventory.committed(result.seq, result.epoch)

    async def change(self, kind: Any, sku: str, units: int, **more: Any) -> tuple[Transaction, ...] | Approval:
        given = {"reason": "because", "actor": CLERK, **self._own_key(more)}
        return await change_stock(self.inventory, StockChange(kind=kind, lines=((sku, units),), **given))

    async def give_back(self, order: str, *lines: tuple[str, int], **more: Any) -> tuple[Transaction, ...] | Approval:
        given = {"reason": "did not fit", "actor": CLERK, **self._own_key(more)}
        return await change_stock(self.inventory, StockChange(kind="return", lines=lines, reference=order, **given))

    def _own_key(self, more: dict[str, Any]) -> dict[str, Any]:
        """Idempotency keys of this test alone."""
        key = more.get("idempotency_key")
        return more if key is None else {**more, "idempotency_key": f"{self._run}-{key}"}

    async def asked(self, kind: Any, sku: str, units: int, **more: Any) -> str:
        """A change that must wait for approval; its id."""
        approval = await self.change(kind, sku, units, **more)
        assert isinstance(approval, Approval)
        assert approval.status == "PENDING"
        return approval.id

    async def state(self, approval_id: str) -> Approval:
        return (await approvals.find(self.inventory, approval_id)).approval

    async def settle(self) -> None:
        """Everything that happened up to now is in the ledger."""
        await self.inventory.caught_up()

    def told(self) -> list[tuple[str, str]]:
        """(type, status) of what was announced, in order."""
        found = self.rows("SELECT event_type, data::jsonb ->> 'status' FROM announcements ORDER BY id")
        return [(kind, status) for kind, status in found]

    async def check_books(self) -> None:
        """What no test may break: the ledger says what the counters say, and nothing is negative."""
        await self.settle()
        sums = dict(self.rows("SELECT sku, sum(quantity)::int8 FROM inventory_transactions GROUP BY sku"))
        for level in await self.engine.stock_levels(None):
            assert 0 <= level.reserved <= level.on_hand, level
            assert sums.get(level.sku, 0) == level.on_hand, level


class Store(Struct):
    """Where one store keeps what it knows."""

    redis: EmbeddedRedis
    database_url: str


@pytest.fixture(scope="session")
def store(session_folder: Path, postgres_server: EmbeddedPostgres, _template_database: str) -> Iterator[Store]:
    """One store with its flusher for all of these tests; each uses SKUs of its own."""
    server = EmbeddedRedis(session_folder / "stock-redis")
    server.start()
    name = "stock_tests"
    postgres_server.create_database(name, template=_template_database)
    database_url = postgres_server.database_url(name)
    with server.client() as client:
        open_partition(client, 1, 0)
    flusher = Flusher(server.url, database_url, QUICK)
    thread = threading.Thread(target=flusher.run, daemon=True)
    thread.start()
    yield Store(server, database_url)
    flusher.stop()
    thread.join(60)
    assert not thread.is_alive()
    with server.client() as client:
        leaks = leaked_keys(client)
    server.stop()
    postgres_server.drop_database(name)
    assert not leaks, "keys left behind:\n" + "\n".join(leaks[:20])


@pytest.fixture
async def desk(store: Store) -> AsyncIterator[Desk]:
    engine = await Engine.connect(store.redis.url, EngineSettings(epoch=1))
    database = Database(store.database_url)
    watermark = Watermark(store.database_url)
    await watermark.start()
    settings = InventorySettings(approval_units=LIMIT, ledger_timeout_s=15.0)
    with store.redis.client() as client:
        opened = Desk(Inventory(engine, database, watermark, settings), client, store.database_url)
        opened.rows("DELETE FROM approvals")
        opened.rows("DELETE FROM announcements")
        yield opened
        await opened.check_books()
    await watermark.close()
    await database.close()
    await engine.close()
