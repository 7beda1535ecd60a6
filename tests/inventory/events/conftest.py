"""A store with its flusher, the feed of one process over it, and the truth to hold what readers saw against."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import psycopg
import pytest

from engine import Configure, Engine
from inventory.context import Inventory, InventorySettings
from inventory.events.feed import EventFeed
from persistence.database import Database
from persistence.database_url import psycopg_url
from persistence.journal_entries import JournalEntry, read_entry
from persistence.watermark import Watermark
from worker.flusher import Flusher, FlusherSettings

QUICK = FlusherSettings(
    tick_ms=2, block_ms=20, report_every_ms=50, halted_retry_ms=50, last_back_off_ms=100, stand_by_ms=30
)

Sql = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def sql(database_url: str) -> Sql:
    """Postgres read as plain rows, each time anew."""

    def run(statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(psycopg_url(database_url), autocommit=True) as connection:
            found = connection.execute(statement, arguments)
            return found.fetchall() if found.description else []

    return run


@pytest.fixture
def start_flusher(redis_url: str, database_url: str) -> Iterator[Callable[..., Flusher]]:
    """`start_flusher(redis_url)`: a flusher in a thread; stopped, drained, at the end."""
    started: list[tuple[Flusher, threading.Thread]] = []

    def start(url: str = redis_url) -> Flusher:
        flusher = Flusher(url, database_url, QUICK)
        thread = threading.Thread(target=flusher.run, daemon=True)
        thread.start()
        started.append((flusher, thread))
        return flusher

    yield start
    for flusher, thread in started:
        flusher.stop()
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture
async def make_inventory(database_url: str) -> AsyncIterator[Callable[..., Any]]:
    """`await make_inventory(engine)`: an Inventory over this test's Postgres."""
    opened: list[Any] = []

    async def make(engine: Engine) -> Inventory:
        database, watermark = Database(database_url), Watermark(database_url)
        opened.extend([database, watermark])
        await watermark.start()
        return Inventory(engine, database, watermark, InventorySettings())

    yield make
    for one in reversed(opened):
        await one.close()


@pytest.fixture
async def inventory(engine: Engine, make_inventory: Callable[..., Any]) -> Inventory:
    return await make_inventory(engine)


@pytest.fixture
async def feed(inventory: Inventory) -> EventFeed:
    return EventFeed(inventory)


async def product(engine: Engine, sku: str, stock: int = 1_000_000) -> None:
    assert (await engine.execute(Configure(sku, 0, 0, True, stock, "tests"))).status == "ok"


def archived(sql: Sql) -> list[JournalEntry]:
    """Every entry of the archive, in order."""
    rows = sql("SELECT stream_id, body FROM journal_archive ORDER BY epoch, last_seq")
    entries = [read_entry(stream_id, bytes(body)) for stream_id, body in rows]
    assert all(isinstance(entry, JournalEntry) for entry in entries)
    return entries  # type: ignore[return-value]
