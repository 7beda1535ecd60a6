"""Waiting for the ledger: woken by the commit, thousands at once, over a lost connection, never for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import psycopg
import pytest

from persistence.database_url import psycopg_url
from persistence.migrate import upgrade
from persistence.watermark import Watermark


@pytest.fixture
async def watermark(database_url: str) -> AsyncIterator[Watermark]:
    started = Watermark(database_url)
    await started.start()
    assert started.connected
    yield started
    await started.close()


def commit(database_url: str, seq: int, epoch: int = 1, announce: bool = True) -> None:
    with psycopg.connect(psycopg_url(database_url)) as connection:
        connection.execute("UPDATE journal_cursors SET epoch = %s, seq = %s", (epoch, seq))
        if announce:
            connection.execute("SELECT pg_notify('holdfast_ledger', %s)", (f"0:{epoch}:{seq}:{seq}-0",))


async def test_woken_by_the_commit(watermark: Watermark, database_url: str) -> None:
    waits = [asyncio.create_task(watermark.reached(0, 1, seq, 60)) for seq in (5, 3, 4)]
    await asyncio.to_thread(commit, database_url, 4)
    done, _ = await asyncio.wait(waits, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    assert {waits.index(task) for task in done} <= {1, 2}
    assert await waits[1]
    assert await waits[2]
    assert not waits[0].done()
    await asyncio.to_thread(commit, database_url, 5)
    assert await waits[0]
    assert await watermark.reached(0, 1, 5, 0)


async def test_too_long_is_false(watermark: Watermark) -> None:
    assert not await watermark.reached(0, 1, 1, 0.01)


async def test_thousands_at_once(watermark: Watermark, database_url: str) -> None:
    answers: list[bool] = []
    for seq in range(1, 20_001):
        watermark.watch(0, 1, seq, 60, answers.append)
    assert watermark.waiting == 20_000
    await asyncio.to_thread(commit, database_url, 20_000)
    async with asyncio.timeout(60):
        await watermark.reached(0, 1, 20_000, 60)
    assert answers == [True] * 20_000
    assert watermark.waiting == 0


async def test_those_who_gave_up_do_not_pile_up(watermark: Watermark, eventually: Callable[..., Any]) -> None:
    answers: list[bool] = []
    for seq in range(1, 5_001):
        watermark.watch(0, 1, seq, 0.001, answers.append)
    await eventually(lambda: len(answers) == 5_000)
    assert not any(answers)
    assert watermark.waiting < 2_600


async def test_a_caller_who_goes_away_harms_nobody(watermark: Watermark, database_url: str) -> None:
    leaving = asyncio.create_task(watermark.reached(0, 1, 1, 60))
    staying = asyncio.create_task(watermark.reached(0, 1, 1, 60))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.to_thread(commit, database_url, 1)
    assert await staying


@pytest.mark.parametrize("channel", ["holdfast_ledger", "holdfast_partition"])
@pytest.mark.parametrize("news", ["", "nothing of ours", "0:1:x", "0:1:99999999999999999999:1-1", "0:1:7:gar:bage"])
async def test_news_that_are_not_ours_do_not_end_the_listening(
    watermark: Watermark, database_url: str, channel: str, news: str
) -> None:
    def tell() -> None:
        with psycopg.connect(psycopg_url(database_url)) as connection:
            connection.execute("SELECT pg_notify(%s, %s)", (channel, news))

    waiting = asyncio.create_task(watermark.reached(0, 1, 2, 60))
    await asyncio.to_thread(tell)
    await asyncio.to_thread(commit, database_url, 2)

    assert await waiting
    assert watermark.position(0) == (1, 2)


async def test_an_error_in_whoever_is_told_the_state_does_not_end_the_listening(
    database_url: str, eventually: Callable[..., Any]
) -> None:
    told = 0

    def on_state(_: object) -> None:
        nonlocal told
        told += 1
        if told == 1:
            raise RuntimeError("the handler is closed")

    with psycopg.connect(psycopg_url(database_url)) as connection:
        connection.execute(
            "INSERT INTO partition_state (partition, epoch, run_id, state, reason) VALUES (0, 1, 'a', 'OPEN', '')"
        )
    watermark = Watermark(database_url, on_state)
    await watermark.start()
    await eventually(lambda: told >= 2 and watermark.connected, what="it listens again")
    await watermark.close()


async def test_a_callback_that_fails_harms_nobody(watermark: Watermark, database_url: str) -> None:
    def fails(_: bool) -> None:
        raise ZeroDivisionError

    watermark.watch(0, 1, 1, 60, fails)
    staying = asyncio.create_task(watermark.reached(0, 1, 1, 60))
    await asyncio.sleep(0)
    await asyncio.to_thread(commit, database_url, 1)
    assert await staying


async def test_another_epoch(watermark: Watermark, database_url: str) -> None:
    old = asyncio.create_task(watermark.reached(0, 1, 50, 60))
    new = asyncio.create_task(watermark.reached(0, 2, 3, 60))
    await asyncio.sleep(0)
    await asyncio.to_thread(commit, database_url, 3, 2)
    assert await new
    assert not await old
    assert not await watermark.reached(0, 1, 1, 60)


async def test_what_was_committed_before_is_known_at_once(database_url: str) -> None:
    commit(database_url, 7, announce=False)
    watermark = Watermark(database_url)
    await watermark.start()
    assert await watermark.reached(0, 1, 7, 0)
    await watermark.close()


async def test_over_a_restart_of_postgres(make_postgres: Callable[..., Any], eventually: Callable[..., Any]) -> None:
    server = make_postgres()
    upgrade(server.url)
    watermark = Watermark(server.url)
    await watermark.start()
    waiting = asyncio.create_task(watermark.reached(0, 1, 2, 60))
    server.kill()
    await eventually(lambda: not watermark.connected)
    server.start()
    commit(server.url, 2, announce=False)
    assert await waiting
    await watermark.close()


async def test_close_ends_every_wait(database_url: str) -> None:
    watermark = Watermark(database_url)
    await watermark.start()
    waiting = asyncio.create_task(watermark.reached(0, 1, 1, 60))
    await asyncio.sleep(0)
    await watermark.close()
    assert not await waiting


async def test_starting_without_postgres_goes_on_in_the_background(server_folder: object) -> None:
    watermark = Watermark(f"postgresql://holdfast@/nothing?host={server_folder}")
    await watermark.start(timeout_s=0.05)
    assert not watermark.connected
    assert not await watermark.reached(0, 1, 1, 0.01)
    await watermark.close()
