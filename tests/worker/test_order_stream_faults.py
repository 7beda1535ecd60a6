"""The orders stream when things break: a consumer killed at every step, a group lost, Redis and Postgres restarted."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from engine.identity import derived_base
from engine.keys import partition_keys
from inventory.order_events import OrderCancelled, OrderCreated
from inventory.orders import Reporter, report_order
from inventory.refusals import ReservationStateUnknown
from persistence.migrate import upgrade
from tests.waiting import eventually
from tests.worker.orders_shop import STREAM, OrdersShop, open_shop, quick
from worker.order_stream import STEPS, OrderStream

NEVER = "0" * 36

KILLED = """
import asyncio, os, signal, sys
from tests.worker.orders_shop import open_shop, quick
from worker.order_stream import OrderStream

redis_url, database_url, fatal_step = sys.argv[1:]

def hook(step):
    if step == fatal_step:
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    async with open_shop(redis_url, database_url) as shop:
        await OrderStream(shop.inventory, quick(redis_url), hook).run(asyncio.Event())

asyncio.run(main())
"""


@pytest.fixture
async def shop(
    redis_url: str, database_url: str, known_keys: list[str], start_flusher: Callable[..., Any]
) -> AsyncIterator[OrdersShop]:
    known_keys.append(STREAM)
    async with open_shop(redis_url, database_url) as shop:
        start_flusher()
        yield shop


async def test_a_put_back_that_the_ledger_never_got_is_not_asked_for_without_end(
    shop: OrdersShop, redis_client: redis.Redis
) -> None:
    await shop.sku("A")
    held = await shop.hold("A", 2)
    reporter = Reporter("tests")
    await report_order(shop.inventory, reporter, OrderCreated("o-1", [held]))
    # As if its event had been set aside: the engine remembers the change, the ledger has no row.
    base, now_ms = derived_base("order.cancelled", "", "o-1"), time.time_ns() // 1_000_000
    remembered = msgspec.msgpack.encode(["ADJUSTED", now_ms, "*", 1, "A=2=10=0", 1])
    redis_client.set(partition_keys(0).record(base), remembered, px=60_000)

    with pytest.raises(ReservationStateUnknown):
        async with asyncio.timeout(60):
            await report_order(shop.inventory, reporter, OrderCancelled("o-1"))


class Consumer:
    """A consumer in this process; for use in `async with`."""

    def __init__(self, shop: OrdersShop, redis_url: str, **more: Any) -> None:
        self.stream = OrderStream(shop.inventory, quick(redis_url, **more))
        self._stop = asyncio.Event()

    async def __aenter__(self) -> OrderStream:
        self._task = asyncio.create_task(self.stream.run(self._stop))
        return self.stream

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await self._task


@pytest.mark.parametrize("step", STEPS)
async def test_killed_at_any_step_once_in_effect(
    shop: OrdersShop, redis_url: str, database_url: str, step: str
) -> None:
    sku = await shop.sku("A")
    shop.created("o-1", await shop.hold(sku, 2))
    shop.cancelled("o-1")
    bad = shop.created("o-2", NEVER)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, redis_url, database_url, step, cwd=Path(__file__).parents[2]
    )
    assert await asyncio.wait_for(process.wait(), 60) == -signal.SIGKILL
    assert shop.client.xlen(STREAM) > 0
    async with Consumer(shop, redis_url):
        await shop.all_done()
    assert [row[:3] for row in shop.movements("o-1")] == [("OUT", sku, -2), ("IN", sku, 2)]
    assert [(stream_id, code) for stream_id, code, _ in shop.dead()] == [(bad, "unknown-reservation")]
    assert await shop.level(sku) == (10, 0)


async def test_a_consumer_that_stops_leaves_nothing_undone(shop: OrdersShop, redis_url: str) -> None:
    sku = await shop.sku("A", 200)
    for number in range(100):
        shop.created(f"o-{number}", await shop.hold(sku))
    async with Consumer(shop, redis_url) as stream:
        await eventually(lambda: stream.status.applied > 5)
    applied = stream.status.applied
    assert shop.rows("SELECT count(*)::int FROM inventory_transactions WHERE transaction_type = 'OUT'")[0][0] >= applied
    async with Consumer(shop, redis_url):
        await shop.all_done()
    assert await shop.level(sku) == (100, 0)
    assert shop.dead() == []


@pytest.mark.parametrize("lost", ["group", "stream"])
async def test_the_group_is_lost(shop: OrdersShop, redis_url: str, lost: str) -> None:
    sku = await shop.sku("A")
    held = await shop.hold(sku)
    async with Consumer(shop, redis_url):
        shop.created("o-1", held)
        await shop.all_done()
        if lost == "group":
            # What the new group reads from the beginning is told again.
            shop.created("o-1", held)
            shop.client.xgroup_destroy(STREAM, "holdfast")
        else:
            shop.client.delete(STREAM)
        shop.created("o-2", await shop.hold(sku))
        await eventually(lambda: shop.movements("o-2"))
        await shop.all_done()
    assert len(shop.movements("o-1")) == 1
    assert await shop.level(sku) == (8, 0)
    assert shop.dead() == []


async def test_redis_and_postgres_come_and_go(
    make_redis: Callable[..., Any], make_postgres: Callable[..., Any], start_flusher: Callable[..., Any]
) -> None:
    redis_server, postgres = make_redis(), make_postgres()
    postgres.create_database("shop")
    database_url = postgres.database_url("shop")
    upgrade(database_url)
    start_flusher(redis_url=redis_server.url, database_url=database_url)
    async with open_shop(redis_server.url, database_url) as shop:
        sku = await shop.sku("A")
        held = [await shop.hold(sku) for _ in range(3)]
        async with Consumer(shop, redis_server.url) as stream:
            shop.created("o-1", held[0])
            await shop.all_done()

            redis_server.kill()
            await eventually(lambda: stream.status.waiting)
            redis_server.start()
            await eventually(lambda: shop.inventory.engine.connected)
            shop.created("o-2", held[1])
            await shop.all_done()
            assert not stream.status.waiting

            postgres.stop()
            shop.created("o-3", held[2])
            shop.cancelled("o-3")
            bad = shop.created("o-4", NEVER)
            await eventually(lambda: stream.status.repeated > 3)
            assert stream.status.dead == 0
            postgres.start()
            await shop.all_done()
        assert [row[:3] for row in shop.movements("o-3")] == [("OUT", sku, -1), ("IN", sku, 1)]
        assert [(stream_id, code) for stream_id, code, _ in shop.dead()] == [(bad, "unknown-reservation")]
        assert await shop.level(sku) == (8, 0)
