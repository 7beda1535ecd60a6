"""What somebody else has written into Redis ends nobody: every loop goes on, and the store is put right."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from engine import Engine
from engine.errors import Unavailable
from engine.events import Entry, Reserved, decode_entry
from engine.journal import JournalReader
from engine.vitals import look
from inventory.back_pressure import BackPressure
from persistence.watermark import Watermark
from runtime.embedded_redis import EmbeddedRedis
from runtime.store import StoreWatch
from tests.waiting import eventually
from tests.worker.recovering_shop import KEYS, RecoveringShop
from worker.sweeper import Sweeper


@pytest.fixture
async def shop(make_redis: Callable[..., EmbeddedRedis], database_url: str) -> AsyncIterator[RecoveringShop]:
    shop = RecoveringShop(make_redis(appendfsync="always"), database_url)
    yield shop
    await shop.close()


@pytest.fixture
async def engine(shop: RecoveringShop) -> Engine:
    engine = await shop.open_engine(shop.recover())
    await shop.stock(engine)
    shop.flush()
    return engine


@pytest.mark.parametrize("field", ["epoch", "seq", "last_now_ms"])
@pytest.mark.parametrize("nonsense", ["12 or so", "", "-1", None], ids=str)
async def test_a_meta_without_its_numbers_is_seen_as_no_state(
    shop: RecoveringShop, engine: Engine, field: str, nonsense: str | None
) -> None:
    before = shop.picture()
    with shop.client() as client:
        if nonsense is None:
            client.hdel(KEYS.meta, field)
        else:
            client.hset(KEYS.meta, field, nonsense)
        read_ms = field == "last_now_ms"
        assert JournalReader(client, 0).written()[0] == int(read_ms)
    assert (await engine.journal_state()).epoch == int(read_ms)
    assert (await look(engine._redis, KEYS, soon_ms=0, flushed_to="")).epoch == int(read_ms)
    assert (await engine.store_reader().moment()).epoch == int(read_ms)
    with StoreWatch(shop.server.url, shop.database_url) as watch:
        watch._facts()
    sweeper = Sweeper(engine, engine._redis)
    await sweeper.sweep()

    assert shop.recover().epoch == 2
    assert shop.picture() == before


async def test_back_pressure_outlives_a_surprise(
    shop: RecoveringShop, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    watermark = Watermark(shop.database_url)
    pressure = BackPressure(engine, watermark)
    surprises = 0
    real = engine.journal_state

    async def journal_state() -> Any:
        nonlocal surprises
        surprises += 1
        if surprises == 1:
            raise RuntimeError("the handler is closed")
        return await real()

    engine.admission.journal_full = True
    with monkeypatch.context() as patch:
        patch.setattr(engine, "journal_state", journal_state)
        pressure.start()
        await eventually(lambda: not engine.admission.journal_full, what="somebody still looks")
        await pressure.close()
    assert surprises >= 2


async def test_counters_that_cannot_be_read_hide_no_others(shop: RecoveringShop, engine: Engine) -> None:
    with shop.client() as client:
        client.hset(KEYS.stock, mapping={"S1": "damaged", "S2": b"\xff\xfe", "S3": "1 2 3"})

    assert [level.sku for level in await engine.stock_levels(["S0", "S1", "S2", "S3", "S4"])] == ["S0", "S4"]
    assert {level.sku for level in await engine.stock_levels()} == {"S0", "S4", "S5"}


async def test_a_deadline_before_all_time_does_not_end_the_sweeper(shop: RecoveringShop, engine: Engine) -> None:
    held = await shop.hold(engine, "S1", 3, ttl_ms=1_000)
    with shop.client() as client:
        client.zadd(KEYS.deadlines, {"garbage": float("-inf")})
    sweeper = Sweeper(engine, engine._redis)

    async def ended() -> bool:
        await sweeper.sweep()
        return (await engine.reservation(held.id, caller="shop")).status == "EXPIRED"

    await eventually(ended)
    assert sweeper.status.stuck == 1
    assert (await engine.vitals()).live_holds == 1
    chunk = await engine.store_reader().deadlines(0)
    assert [(found.reservation_id, found.deadline_ms) for found in chunk.items] == [("garbage", 0)]


async def test_an_event_that_was_set_aside_does_not_keep_a_store_from_being_rebuilt(
    shop: RecoveringShop, engine: Engine
) -> None:
    """The archive holds every entry as it was, also what the ledger could make nothing of."""
    kept = await shop.hold(engine, "S1", 3, key="kept")
    with shop.client() as client:
        ((_, fields),) = client.xrevrange(KEYS.journal, count=1)
        entry = decode_entry(fields[b"b"])
        event = entry.events[0]
        assert isinstance(event, Reserved)
        poisoned = msgspec.structs.replace(event, id="f" * 24 + event.id[24:], lines="S1=three=100=6")
        following = Entry(entry.schema, entry.epoch, entry.first_seq + 1, entry.at_ms, (poisoned,))
        client.xadd(KEYS.journal, {"b": msgspec.msgpack.encode(following)})
        client.hset(KEYS.meta, "seq", following.first_seq)
    shop.flush()
    assert shop.sql("SELECT applied FROM journal_quarantine") == [("nothing",)]
    with shop.client() as client:
        client.flushall()

    admitted = shop.recover()

    engine = await shop.open_engine(admitted)
    again = await shop.hold(engine, "S1", 3, key="kept")
    assert again.id == kept.id
    with pytest.raises(Unavailable):
        await asyncio.wait_for(shop.engines[0].availability(["S1"]), 30)
