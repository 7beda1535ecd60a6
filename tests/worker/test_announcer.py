"""Announcements: told if and only if their transaction is committed, in order, each once, whatever ends in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis
from msgspec import Struct

from engine import Engine
from engine.bootstrap import open_partition
from engine.events import Announced
from inventory.events.announcements import announce
from persistence.database import Database
from persistence.journal_entries import read_entry
from tests.waiting import eventually
from tests.worker.conftest import Rows, RunningFlusher
from worker.announcer import Announcer, AnnouncerSettings


class Note(Struct):
    text: str


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url)
    yield opened
    await opened.close()


async def tell(database: Database, *texts: str) -> None:
    async with database.transaction() as transaction:
        for text in texts:
            await announce(transaction, "stock.low", Note(text))


async def tell_and_fail(database: Database) -> None:
    async with database.transaction() as transaction:
        await announce(transaction, "stock.low", Note("never"))
        raise ZeroDivisionError


def told(rows: Rows) -> list[str]:
    """What the journal's archive says, in order."""
    entries = [read_entry("1-1", bytes(body)) for (body,) in rows("SELECT body FROM journal_archive ORDER BY last_seq")]
    return [event.data for entry in entries for event in entry.events if isinstance(event, Announced)]  # type: ignore


def waiting(rows: Rows) -> int:
    return rows("SELECT count(*) FROM announcements WHERE announced_at IS NULL")[0][0]


NOTES = ['{"text":"one"}', '{"text":"two"}', '{"text":"three"}']


async def test_once_in_order_and_only_what_was_committed(
    engine: Engine, database: Database, rows: Rows, start_flusher: Callable[..., RunningFlusher]
) -> None:
    start_flusher()
    announcer = Announcer(engine, database)
    await tell(database, "one", "two")
    with pytest.raises(ZeroDivisionError):
        await tell_and_fail(database)
    await tell(database, "three")
    assert await announcer.look() == 3
    await eventually(lambda: waiting(rows) == 0)
    assert await announcer.look() == 0
    assert told(rows) == NOTES


async def test_a_type_that_is_not_announced(database: Database, rows: Rows) -> None:
    async with database.transaction() as transaction:
        with pytest.raises(ValueError, match=r"stock\.adjusted"):
            await announce(transaction, "stock.adjusted", Note("x"))
    assert waiting(rows) == 0


async def test_killed_between_sending_and_the_ledger(
    engine: Engine, database: Database, rows: Rows, start_flusher: Callable[..., RunningFlusher]
) -> None:
    await tell(database, "one", "two", "three")
    assert await Announcer(engine, database).look() == 3
    assert waiting(rows) == 3
    # Another worker, which knows nothing of it, and one more.
    assert await Announcer(engine, database).look() == 0
    start_flusher()
    assert await Announcer(engine, database).look() == 0
    await eventually(lambda: waiting(rows) == 0)
    assert told(rows) == NOTES


async def test_a_redis_that_forgot_is_told_again(
    engine: Engine,
    database: Database,
    rows: Rows,
    redis_client: redis.Redis,
    start_flusher: Callable[..., RunningFlusher],
) -> None:
    clock = 0.0
    announcer = Announcer(engine, database, AnnouncerSettings(again_s=2.0), lambda: clock)
    await tell(database, "one", "two", "three")
    assert await announcer.look() == 3
    redis_client.flushall()
    open_partition(redis_client, epoch=1, ledger_seq=0)
    assert await announcer.look() == 0, "the flusher may still meet it"
    clock = 2.5
    assert await announcer.look() == 3
    start_flusher()
    await eventually(lambda: waiting(rows) == 0)
    assert told(rows) == NOTES


async def test_one_that_cannot_be_told_keeps_no_other_waiting(
    engine: Engine, database: Database, rows: Rows, start_flusher: Callable[..., RunningFlusher]
) -> None:
    await tell(database, "one")
    rows("UPDATE announcements SET event_type = ''")
    await tell(database, "two")
    start_flusher()
    announcer = Announcer(engine, database)
    assert await announcer.look() == 1
    assert announcer.status.refused == 1
    await eventually(lambda: waiting(rows) == 1)
    assert told(rows) == ['{"text":"two"}']


async def test_it_runs_until_stopped_through_a_postgres_that_goes_away(
    engine: Engine, make_postgres: Callable[..., Any]
) -> None:
    from persistence.migrate import upgrade

    server = make_postgres()
    server.create_database("announcements")
    url = server.database_url("announcements")
    upgrade(url)
    database, rows = Database(url), Rows(url)
    announcer = Announcer(engine, database, AnnouncerSettings(interval_s=0.01, last_back_off_s=0.05))
    stop = asyncio.Event()
    running = asyncio.create_task(announcer.run(stop))
    server.kill()
    await eventually(lambda: announcer.status.reason)
    server.start()
    await eventually(lambda: not announcer.status.reason)
    await tell(database, "one")
    await eventually(lambda: announcer.status.sent == 1)
    assert waiting(rows) == 1
    stop.set()
    await running
    await database.close()
