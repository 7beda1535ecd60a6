"""The keeper at work in a worker while a shop sells: refused at once, exact afterwards, nobody has to do anything."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.errors import JournalFull, Rejected, Unavailable
from inventory.back_pressure import BackPressure, BackPressureSettings
from persistence.migrate import upgrade
from runtime.embedded_postgres import EmbeddedPostgres
from runtime.embedded_redis import EmbeddedRedis
from tests.waiting import eventually
from tests.worker.recovering_shop import KEYS
from tests.worker.running_shop import RunningShop


@pytest.fixture
async def shop(make_redis: Callable[..., EmbeddedRedis], database_url: str) -> AsyncIterator[RunningShop]:
    shop = RunningShop(make_redis(appendfsync="always"), database_url)
    await shop.start()
    yield shop
    await shop.close()


@pytest.mark.parametrize("fault", ["flushall", "restart"])
async def test_6_what_breaks_under_load_is_refused_and_then_exact(shop: RunningShop, fault: str) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    await shop.stock(shop.engine, skus=6, units=10_000)
    shop.start_worker()
    second = shop.start_worker()
    stop = asyncio.Event()
    refusals = 0
    known: dict[str, str] = {}
    reasons: set[str] = set()

    async def buyer(number: int) -> None:
        nonlocal refusals
        turn = 0
        while not stop.is_set():
            turn += 1
            key = f"{number}-{turn}"
            while True:
                try:
                    hold = await shop.hold(shop.engine, f"S{chance.randrange(6)}", 1)
                    known[key] = hold.id
                    if chance.random() < 0.5:
                        await shop.engine.confirm(hold.id, order_id=key, caller="shop")
                    break
                except Unavailable:
                    refusals += 1
                    await asyncio.sleep(0.01)
                except Rejected as error:
                    # A hold that the fault took: only what was flushed comes back.
                    reasons.add(error.result.status)
                    break

    buyers = [asyncio.create_task(buyer(number)) for number in range(8)]
    await eventually(lambda: len(known) > 100, timeout_s=30, what="some sales")
    epoch = shop.engine.epoch
    if fault == "flushall":
        with shop.client() as client:
            client.flushall()
    else:
        await asyncio.to_thread(shop.restart)
    await eventually(lambda: shop.engine.epoch > epoch and not shop.engine.refusal, timeout_s=60, what="a new epoch")
    sold = len(known)
    await eventually(lambda: len(known) > sold + 100, timeout_s=30, what="sales in the new epoch")
    stop.set()
    await asyncio.gather(*buyers)

    assert refusals
    assert reasons <= {"unknown_reservation"}
    await shop.settled()
    shop.check()
    assert shop.state() == ("OPEN", "", 1 if fault == "flushall" else 0)
    if fault == "restart":
        # Every file write was synced: nothing that was answered is gone.
        stored = {name for (name,) in shop.sql("SELECT id FROM stock_reservations")}
        assert set(known.values()) <= stored
    await eventually(lambda: second.keeper_status.epoch == shop.engine.epoch, what="the other keeper to know")  # type: ignore[union-attr]


async def test_a_wait_for_the_ledger_in_an_epoch_that_ends_is_never_told_yes(shop: RunningShop) -> None:
    """The same number comes again in the next epoch, and means something else."""
    await shop.stock(shop.engine)
    shop.flush()
    state = await shop.engine.journal_state()
    await shop.hold(shop.engine, "S0", 1)
    lost = (await shop.engine.journal_state()).seq
    waiting = asyncio.create_task(shop.watermark.reached(0, state.epoch, lost, 30.0))
    await asyncio.sleep(0)
    with shop.client() as client:
        client.flushall()
    shop.start_worker()
    await eventually(lambda: shop.engine.epoch == 2, timeout_s=30, what="the new epoch")
    await eventually(shop.serves, what="the engine to serve")
    for _ in range(lost + 1):
        await shop.hold(shop.engine, "S1", 1)
    await shop.settled()
    assert await waiting is False


async def test_26_while_postgres_is_away_the_journal_grows_to_its_limit_and_drains_to_nothing(
    make_redis: Callable[..., EmbeddedRedis], make_postgres: Callable[..., EmbeddedPostgres]
) -> None:
    postgres = make_postgres()
    postgres.create_database("shop")
    upgrade(postgres.database_url("shop"))
    shop = RunningShop(make_redis(), postgres.database_url("shop"))
    await shop.start()
    pressure = BackPressure(
        shop.engine, shop.watermark, BackPressureSettings(max_events=50, interval_s=0.01, max_bytes=0)
    )
    try:
        await shop.stock(shop.engine)
        first = await shop.hold(shop.engine, "S0", 1)
        second = await shop.hold(shop.engine, "S0", 2)
        shop.start_worker()
        await shop.settled()
        await eventually(lambda: shop.watermark.position(0) == shop.cursor(), what="the watermark")
        pressure.start()
        postgres.stop()

        async def full() -> bool:
            try:
                await shop.hold(shop.engine, "S1", 1)
            except JournalFull:
                return True
            return False

        await eventually(full, timeout_s=30, what="the journal to be full")
        with pytest.raises(JournalFull):
            await shop.adjust(shop.engine, "a-1")
        with pytest.raises(JournalFull):
            await shop.engine.amend(first.id, [("S0", 3)], caller="shop")
        await shop.engine.amend(first.id, ttl_ms=600_000, caller="shop")
        await shop.engine.confirm(first.id, caller="shop")
        await shop.engine.release(second.id, caller="shop")
        assert [level.sku for level in await shop.engine.availability(["S0"])] == ["S0"]

        postgres.start()
        await eventually(lambda: _taken(shop), timeout_s=60, what="the journal to have room")
        await shop.settled()
        shop.check()
    finally:
        await pressure.close()
        await shop.close()


async def _taken(shop: RunningShop) -> bool:
    try:
        await shop.hold(shop.engine, "S1", 1)
    except JournalFull:
        return False
    return True


async def test_the_keeper_says_in_metrics_what_it_sees(shop: RunningShop) -> None:
    await shop.stock(shop.engine, skus=1)
    worker = shop.start_worker(metrics_port=0)
    await eventually(lambda: worker.metrics_port, what="the page")

    async def told() -> dict[str, float]:
        async with httpx.AsyncClient(trust_env=False) as client:
            page = await client.get(f"http://127.0.0.1:{worker.metrics_port}/metrics")
        return {
            sample.name: sample.value
            for family in text_string_to_metric_families(page.text)
            for sample in family.samples
            if not sample.labels
        }

    async def says(**wanted: float) -> bool:
        found = await told()
        return all(found.get(f"holdfast_{name}") == value for name, value in wanted.items())

    await eventually(lambda: says(epoch=1, recovery_needed=0, rebuilds_total=0), timeout_s=30, what="a calm start")
    with shop.client() as client:
        # Refused, since a person must decide: it stays so until somebody does.
        client.hset(KEYS.meta, "epoch", "9")
    await eventually(lambda: says(recovery_needed=1), timeout_s=30, what="the alarm")
    recovery = shop.recovery()
    await asyncio.to_thread(recovery.rebuild, "asked for")
    recovery.close()
    await eventually(lambda: says(epoch=10, recovery_needed=0, rebuilds_total=1), timeout_s=30, what="calm again")
    found = await told()
    assert found["holdfast_rebuild_duration_seconds"] > 0
    assert found["holdfast_keeper_looks_total"] > 1
