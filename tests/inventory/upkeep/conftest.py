"""An inventory on this test's own servers, with a flusher behind it."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator

import psycopg
import pytest

from engine import Engine
from inventory.context import Inventory, InventorySettings
from persistence.database import Database
from persistence.database_url import psycopg_url
from persistence.watermark import Watermark
from worker.flusher import Flusher


@pytest.fixture
def sql(database_url: str) -> Callable[..., list[tuple[object, ...]]]:
    def run(statement: str, *arguments: object) -> list[tuple[object, ...]]:
        with psycopg.connect(psycopg_url(database_url), autocommit=True) as connection:
            found = connection.execute(statement, arguments)
            return found.fetchall() if found.description else []

    return run


@pytest.fixture
def flusher(redis_url: str, database_url: str, engine: Engine) -> Iterator[Flusher]:
    running = Flusher(redis_url, database_url)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    yield running
    running.stop()
    thread.join(60)
    assert not thread.is_alive()


@pytest.fixture
async def inventory(engine: Engine, database_url: str) -> AsyncIterator[Inventory]:
    database, watermark = Database(database_url), Watermark(database_url)
    await watermark.start()
    yield Inventory(engine, database, watermark, InventorySettings())
    await watermark.close()
    await database.close()
