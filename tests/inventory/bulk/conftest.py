"""An inventory with a flusher for bulk imports, and short ways to upload, to look at the ledger, and to be killed.

The tests use chunks of three lines, so that a dozen SKUs make a large import.
"""

from __future__ import annotations

import io
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest

from engine import Engine
from engine.commands import Configure
from engine.identity import random_base
from inventory.bulk import chunks, imports
from inventory.context import Inventory, InventorySettings
from persistence.database import Database
from persistence.database_url import psycopg_url
from persistence.queries.imports import Import, ImportMode
from persistence.watermark import Watermark
from worker.flusher import Flusher, FlusherSettings

CHUNK_LINES = 3


class Warehouse:
    """An inventory, and what its ledger says."""

    def __init__(self, inventory: Inventory, database_url: str) -> None:
        self.inventory = inventory
        self.database_url = database_url

    async def stock(self, *levels: int) -> list[str]:
        """SKUs S00, S01, ... with these levels."""
        skus = [f"S{number:02d}" for number in range(len(levels))]
        made = [Configure(sku, 0, 0, True, level, "tests") for sku, level in zip(skus, levels, strict=True)]
        results = await self.inventory.engine.apply(made)
        assert {result.status for result in results} == {"ok"}
        return skus

    async def upload(self, text: str | bytes, mode: ImportMode = "set", name: str = "s.csv", **more: Any) -> Import:
        content = text.encode() if isinstance(text, str) else text
        wanted = imports.Upload(file=io.BytesIO(content), name=name, mode=mode, reason="a count", caller="ann", **more)
        return await imports.upload(self.inventory, None, wanted, 20.0)

    async def counted(self, *levels: int) -> Import:
        """A preview of a file that sets S00, S01, ... to these levels."""
        rows = "".join(f"S{number:02d},{level}\n" for number, level in enumerate(levels))
        return await self.upload("sku,quantity\n" + rows)

    async def apply(self, imported: Import, *, force: bool = False) -> Import:
        return await imports.apply(self.inventory, None, imported.id, None, caller="ann", force=force, wait_s=20.0)

    async def revert(self, imported: Import) -> Import:
        return await imports.revert(self.inventory, None, imported.id, None, caller="ann", wait_s=20.0)

    async def status(self, imported: Import) -> str:
        return (await imports.get(self.inventory, imported.id, None)).status

    async def levels(self) -> list[int]:
        """on_hand of every SKU, in SKU order."""
        found = await self.inventory.engine.stock_levels(None)
        return [level.on_hand for level in sorted(found, key=lambda level: level.sku)]

    async def hold(self, sku: str, units: int) -> str:
        held = await self.inventory.engine.reserve([(sku, units)], customer_id="bob")
        return held.id

    async def flushed(self) -> None:
        await self.inventory.caught_up()

    def sql(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(psycopg_url(self.database_url), autocommit=True) as connection:
            found = connection.execute(query, arguments)  # type: ignore[arg-type]
            return found.fetchall() if found.description else []

    def made(self, imported: Import) -> list[tuple[str, int]]:
        """(SKU, quantity) of the ledger rows of an import, in order."""
        return self.sql(
            "SELECT sku, quantity FROM inventory_transactions WHERE reference_type = 'Import' AND reference_id = %s"
            " ORDER BY id",
            imported.id,
        )

    async def assert_ledger_is_true(self) -> None:
        """Counters and ledger agree, SKU by SKU."""
        await self.flushed()
        sums = dict(self.sql("SELECT sku, sum(quantity)::bigint FROM inventory_transactions GROUP BY sku"))
        levels = {level.sku: level.on_hand for level in await self.inventory.engine.stock_levels(None)}
        assert levels == {sku: sums.get(sku, 0) for sku in levels}

    def forget_idle(self) -> None:
        """Make every import look as if nobody had touched it for long."""
        self.sql("UPDATE imports SET updated_at = now() - interval '1 hour'")


@pytest.fixture
def flushing(redis_url: str, database_url: str) -> Iterator[None]:
    flusher = Flusher(redis_url, database_url, FlusherSettings(tick_ms=1, block_ms=20))
    thread = threading.Thread(target=flusher.run, daemon=True)
    thread.start()
    yield
    flusher.stop()
    thread.join(60)
    assert not thread.is_alive()


@pytest.fixture
async def warehouse(
    engine: Engine, database_url: str, flushing: None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Warehouse]:
    monkeypatch.setattr(chunks, "CHUNK_LINES", CHUNK_LINES)
    monkeypatch.setattr(chunks, "COMMIT_EVERY", 1)
    monkeypatch.setattr(imports, "LOOK_EVERY_S", 0.01)
    database = Database(database_url)
    watermark = Watermark(database_url)
    await watermark.start()
    yield Warehouse(Inventory(engine, database, watermark, InventorySettings(ledger_timeout_s=20.0)), database_url)
    await watermark.close()
    await database.close()


@pytest.fixture
def base() -> str:
    return random_base()
