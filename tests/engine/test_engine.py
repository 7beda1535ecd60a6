"""engine/engine.py: the named verbs, and the reads outside the state machine."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
import redis

from engine import (
    Availability,
    Configure,
    Disconnected,
    Engine,
    InvalidCommand,
    Rejected,
    Reserve,
    Status,
    StockLevel,
    Unavailable,
)
from engine.identity import make_id, random_base
from engine.keys import partition_keys
from engine.results import Details
from runtime.embedded_redis import EmbeddedRedis
from tests.engine.conftest import OpenEngine

UNKNOWN_ID = make_id("0" * 24, 1_800_000_000_000)


@pytest.fixture
async def shop(engine: Engine) -> Engine:
    await engine.execute(Configure("A", 1, 2, True, 10, "admin"))
    return engine


# -- named verbs


@pytest.mark.parametrize("verb", ["amend", "confirm", "release", "reservation"])
@pytest.mark.parametrize("wrong", ["", "x", "0" * 35, UNKNOWN_ID.upper().replace("0", "A"), "0" * 36 + "0"])
async def test_what_is_no_id_is_not_sent(shop: Engine, verb: str, wrong: str) -> None:
    with pytest.raises(InvalidCommand):
        await getattr(shop, verb)(wrong)


@pytest.mark.parametrize("verb", ["amend", "confirm", "release", "reservation"])
async def test_an_id_that_nobody_made(shop: Engine, verb: str) -> None:
    more = {"ttl_ms": 5_000} if verb == "amend" else {}

    with pytest.raises(Rejected) as refused:
        await getattr(shop, verb)(UNKNOWN_ID, **more)

    assert refused.value.result.status == Status.UNKNOWN_RESERVATION


@pytest.mark.parametrize("ttl_ms", [0, 999, 86_400_001, -1])
async def test_a_ttl_out_of_bounds_is_not_sent(shop: Engine, ttl_ms: int) -> None:
    with pytest.raises(InvalidCommand):
        await shop.reserve([("A", 1)], customer_id="ann", ttl_ms=ttl_ms)


async def test_what_a_reservation_carries(shop: Engine, redis_client: redis.Redis) -> None:
    hold = await shop.reserve([("A", 2)], customer_id="änn \u0000 ☕", cart_id="c'; --", caller="key_1", ttl_ms=5_000)

    assert (hold.customer_id, hold.cart_id, hold.owner, hold.order_id) == ("änn \u0000 ☕", "c'; --", "key_1", None)
    assert await shop.reservation(hold.id) == hold
    raw = redis_client.get(partition_keys(0).record(hold.id[:24]))
    details = msgspec.json.decode(msgspec.msgpack.decode(raw)[-1], type=Details)  # type: ignore[arg-type]
    assert details == Details("änn \u0000 ☕", "c'; --", 5_000)


async def test_availability_of_an_unknown_sku(shop: Engine) -> None:
    with pytest.raises(Rejected) as refused:
        await shop.availability(["A", "B"])

    assert refused.value.result.skus == ("B",)


# -- reads outside the state machine


async def test_levels_of_some_skus(shop: Engine) -> None:
    await shop.reserve([("A", 3)], customer_id="ann")

    assert await shop.stock_levels(["B", "A"]) == [StockLevel("A", 10, 3, 1, 2, True)]
    assert (await shop.stock_levels(["A"]))[0].available == 6
    assert await shop.stock_levels([]) == []


async def test_levels_of_every_sku(shop: Engine) -> None:
    await shop.apply([Configure(f"S{n}", 0, 0, n % 2 == 0, n, "admin") for n in range(3_000)])

    levels = {level.sku: level for level in await shop.stock_levels()}

    assert len(levels) == 3_001
    assert (levels["S7"].on_hand, levels["S7"].active) == (7, False)


async def test_the_state_of_the_journal(shop: Engine) -> None:
    before = await shop.journal_state()
    hold = await shop.reserve([("A", 1)], customer_id="ann")

    after = await shop.journal_state()

    assert (before.epoch, before.seq, before.length) == (1, 2, 1)
    assert (after.epoch, after.seq, after.length) == (1, 3, 2)
    assert after.last_now_ms == hold.created_ms


async def test_no_state_reads_as_epoch_0(shop: Engine, redis_client: redis.Redis) -> None:
    redis_client.flushall()

    state = await shop.journal_state()

    assert (state.epoch, state.seq, state.length) == (0, 0, 0)


async def test_a_server_that_is_gone_is_unavailable_everywhere(own_server: EmbeddedRedis) -> None:
    engine = await Engine.connect(own_server.url)
    own_server.kill()

    with pytest.raises(Disconnected):
        await engine.stock_levels()
    with pytest.raises(Disconnected):
        await engine.stock_levels(["A"])
    with pytest.raises(Disconnected):
        await engine.journal_state()
    with pytest.raises(Unavailable):
        await engine.reserve([("A", 1)], customer_id="ann")
    with pytest.raises(Unavailable):
        await engine.apply([Availability("A=1")] * 3)
    await engine.close()


# -- many commands


async def test_apply_of_nothing(shop: Engine) -> None:
    assert await shop.apply([]) == []


async def test_more_than_the_queue_holds_goes_in_parts(open_engine: OpenEngine) -> None:
    engine = await open_engine(max_queue=1_500)
    await engine.execute(Configure("A", 0, 0, True, 10_000, "admin"))

    results = await engine.apply([Reserve(random_base(), "A=1", 5_000, details='{"c":"a"}')] * 1)
    results += await engine.apply([Reserve(random_base(), "A=1", 5_000, details='{"c":"a"}') for _ in range(4_000)])

    assert {result.status for result in results} == {"ok"}


async def test_callers_that_come_and_go(shop: Engine) -> None:
    """A caller is cancelled at every point it can be; the next one finds the engine as it was."""
    cancelled = 0
    for turns in range(6):
        task = asyncio.ensure_future(shop.apply([Availability("A=1")] * 5))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        # On a busy machine the answer may have come within the last turns.
        cancelled += task.cancelled()
        assert task.cancelled() or len(task.result()) == 5
        assert (await shop.execute(Availability("A=1"))).status == "ok"
    assert cancelled >= 2
    assert shop.queue_depth == 0
