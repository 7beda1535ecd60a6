"""The sweeper with the real engine: holds end in time, once, whoever sweeps; a jumping clock makes it wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from engine import Configure, Engine
from engine.events import decode_entry
from engine.keys import partition_keys
from worker.sweeper import Sweeper, SweeperSettings

KEYS = partition_keys(0)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
async def stocked(engine: Engine) -> Engine:
    for sku in ("A", "B"):
        await engine.execute(Configure(sku, 0, 0, True, 10_000, "admin"))
    return engine


async def hold(engine: Engine, sku: str = "A", n: int = 1, ttl_ms: int = 1_000) -> str:
    return (await engine.reserve([(sku, n)], customer_id="c", ttl_ms=ttl_ms)).id


async def reserved(engine: Engine, sku: str = "A") -> int:
    (level,) = await engine.stock_levels([sku])
    return level.reserved


def make_due(engine: Engine, ahead_ms: int = 2_000) -> None:
    """Let the state machine's clock stand a little ahead, so that nobody has to wait for a deadline."""
    engine.batcher.clock_ms = round(time.time() * 1000) + ahead_ms


async def test_due_holds_end_and_others_stay(stocked: Engine, redis: Redis) -> None:
    for _ in range(3):
        await hold(stocked)
    alive = await hold(stocked, n=5, ttl_ms=60_000)
    sweeper = Sweeper(stocked, redis)
    assert await sweeper.sweep() == 0
    make_due(stocked)
    await stocked.reservation(alive)
    await stocked.reserve([("B", 1)], customer_id="c", ttl_ms=60_000)
    assert await sweeper.sweep() == 3
    assert await reserved(stocked) == 5
    assert (await stocked.reservation(alive)).status == "ACTIVE"
    assert await sweeper.sweep() == 0
    assert (sweeper.status.expired, sweeper.status.stuck) == (3, 0)


async def test_many_due_holds_go_in_chunks(stocked: Engine, redis: Redis) -> None:
    await asyncio.gather(*(hold(stocked) for _ in range(1_000)))
    make_due(stocked)
    await hold(stocked, "B", ttl_ms=60_000)
    assert await Sweeper(stocked, redis, SweeperSettings(chunk=64)).sweep() == 1_000
    assert await reserved(stocked) == 0


async def test_visible_within_250_ms_of_the_deadline(
    stocked: Engine, redis: Redis, eventually: Callable[..., Any]
) -> None:
    stop = asyncio.Event()
    stalled_ms = 0.0

    async def feel_stalls() -> None:
        """How long this process, or the server, was kept from running: a busy machine is not the sweeper's fault."""
        nonlocal stalled_ms
        while not stop.is_set():
            began = time.monotonic()
            await redis.time()
            await asyncio.sleep(0.01)
            stalled_ms = max(stalled_ms, (time.monotonic() - began) * 1000 - 10)

    running = [asyncio.create_task(Sweeper(stocked, redis).run(stop)), asyncio.create_task(feel_stalls())]
    held = await stocked.reserve([("A", 1)], customer_id="c", ttl_ms=1_000)

    async def gone() -> bool:
        return await reserved(stocked) == 0

    await eventually(gone)
    # By the server's own clock, as the journal has it: how late this test looked must not count.
    ((_, fields),) = await redis.xrevrange(KEYS.journal, count=1)
    entry = decode_entry(fields[b"b"])
    assert 0 <= entry.at_ms - held.deadline_ms < 250 + 3 * stalled_ms
    stop.set()
    await asyncio.gather(*running)


async def test_five_sweepers_end_each_hold_once(stocked: Engine, redis: Redis) -> None:
    await asyncio.gather(*(hold(stocked) for _ in range(300)))
    make_due(stocked)
    await hold(stocked, "B", ttl_ms=60_000)
    sweepers = [Sweeper(stocked, redis, SweeperSettings(chunk=50)) for _ in range(5)]
    await asyncio.gather(*(sweeper.sweep() for sweeper in sweepers))
    assert await reserved(stocked) == 0
    assert await redis.zcount(KEYS.deadlines, "-inf", "+inf") == 1
    state = await stocked.journal_state()
    assert state.seq == 4 + 300 + 1 + 300


async def test_a_member_that_is_no_hold_does_not_stop_the_others(stocked: Engine, redis: Redis) -> None:
    await redis.zadd(KEYS.deadlines, {"rubbish": 1, f"{'0' * 36} A=1": 2, b"\xff" * 40: 3})
    await hold(stocked)
    make_due(stocked)
    await hold(stocked, "B", ttl_ms=60_000)
    sweeper = Sweeper(stocked, redis, SweeperSettings(chunk=1))
    assert await sweeper.sweep() == 1
    assert sweeper.status.stuck == 3
    assert await reserved(stocked) == 0


async def test_a_jump_of_the_clock_pauses(stocked: Engine, redis: Redis) -> None:
    shift = 0.0
    sweeper = Sweeper(stocked, redis, SweeperSettings(settle_ms=30_000), lambda: time.monotonic() + shift)
    await hold(stocked)
    assert await sweeper.sweep() == 0
    make_due(stocked)
    await hold(stocked, "B", ttl_ms=60_000)
    # The server's clock is 6 s ahead of where it should be: seen from here, our own has fallen behind.
    shift = -6.0
    assert await sweeper.sweep() == 0
    assert sweeper.status.paused
    shift = -4.0
    assert await sweeper.sweep() == 1
    assert not sweeper.status.paused


async def test_a_new_time_that_lasts_is_believed(stocked: Engine, redis: Redis) -> None:
    own = 1_000.0
    server_ms = 1_800_000_000_000
    sweeper = Sweeper(stocked, redis, SweeperSettings(settle_ms=30_000), lambda: own)

    async def clock() -> tuple[int, int]:
        return server_ms, 0

    sweeper._clock = clock  # type: ignore[method-assign]
    await sweeper.sweep()
    server_ms += 3_600_000
    own += 0.1
    for seconds in (0.0, 10.0, 19.0):
        own += seconds
        server_ms += round(seconds * 1000)
        await sweeper.sweep()
        assert sweeper.status.paused
    own += 1.5
    server_ms += 1_500
    await sweeper.sweep()
    assert not sweeper.status.paused
    # Back again by an hour is a jump as well.
    server_ms -= 3_600_000
    await sweeper.sweep()
    assert sweeper.status.paused


async def test_a_slow_drift_is_no_jump(stocked: Engine, redis: Redis) -> None:
    own = 1_000.0
    server_ms = 1_800_000_000_000
    sweeper = Sweeper(stocked, redis, monotonic=lambda: own)

    async def clock() -> tuple[int, int]:
        return server_ms, 0

    sweeper._clock = clock  # type: ignore[method-assign]
    for _ in range(10):
        own += 60.0
        server_ms += 64_000
        await sweeper.sweep()
        assert not sweeper.status.paused


async def test_redis_away_and_back(
    make_redis: Callable[..., Any], wait_until: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    from engine import EngineSettings
    from engine.bootstrap import open_partition

    server = make_redis()
    with server.client() as client:
        open_partition(client, epoch=1, ledger_seq=0)
    engine = await Engine.connect(server.url, EngineSettings(epoch=1))
    await engine.execute(Configure("A", 0, 0, True, 10, "admin"))
    await hold(engine)
    redis = Redis.from_url(server.url)
    sweeper = Sweeper(engine, redis, SweeperSettings(interval_ms=20, last_back_off_ms=50))
    stop = asyncio.Event()
    running = asyncio.create_task(sweeper.run(stop))
    await eventually(lambda: sweeper.status.looks > 0)
    server.kill()
    await eventually(lambda: sweeper.status.waiting)
    await asyncio.to_thread(server.start)
    await eventually(lambda: sweeper.status.expired == 1)
    assert not sweeper.status.waiting
    stop.set()
    await running
    await engine.close()
    await redis.aclose()
