"""engine/batcher.py: what callers learn when the server goes away, refuses, or holds what nobody expected."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
import redis

from engine import (
    Availability,
    Disconnected,
    Engine,
    EngineSettings,
    NotReady,
    OutcomeUnknown,
    Read,
    Reply,
    Result,
    StoreRefused,
)
from engine.admission import ANY_SERVER
from engine.bootstrap import open_partition
from engine.commands import Release
from runtime.embedded_redis import EmbeddedRedis
from tests.engine.calls import KEYS, Answers, holding, stock
from tests.engine.conftest import OpenEngine, pause

# -- the server goes away


async def test_no_server() -> None:
    with pytest.raises(Disconnected):
        await Engine.connect("unix:///nowhere/redis.sock")


async def connected_again(engine: Engine, eventually: Callable[..., Any]) -> None:
    await eventually(lambda: engine.connected, what="a link is open again")


async def test_an_answer_of_a_life_that_has_ended_is_not_believed(
    own_server: EmbeddedRedis, own_client: redis.Redis, eventually: Callable[..., Any]
) -> None:
    engine = await Engine.connect(own_server.url)
    await stock(engine)
    pause(own_server)
    sent = asyncio.ensure_future(engine.execute(holding()))
    await eventually(lambda: engine.in_flight == 1)

    engine.admission.admit(engine.admission.epoch + 1, ANY_SERVER)
    own_server.process.send_signal(signal.SIGCONT)

    # It ran in the life that ended, and nobody here can tell whether that was before the ledger was read for the next.
    with pytest.raises(OutcomeUnknown):
        await sent
    assert int(own_client.hget(KEYS.stock, "A").split()[1]) == 1  # type: ignore[union-attr]
    # The store is still of the old life: no command of the new one runs there.
    with pytest.raises(NotReady):
        await engine.execute(holding())
    await engine.close()


async def test_a_server_killed_mid_flight(own_server: EmbeddedRedis, eventually: Callable[..., Any]) -> None:
    engine = await Engine.connect(own_server.url)
    await stock(engine)
    command = holding()
    pause(own_server)
    sent = asyncio.ensure_future(engine.execute(command))
    await eventually(lambda: engine.in_flight == 1)

    own_server.kill()

    with pytest.raises(OutcomeUnknown):
        await sent
    # The other link may hear of it a turn of the loop later, and what it was given in between is unknown as well.
    await eventually(lambda: not engine.connected)
    with pytest.raises(Disconnected):
        await engine.execute(holding())
    own_server.start()
    await connected_again(engine, eventually)
    assert (await engine.execute(command)).status == "ok", "repeated with the same base, it is held once"
    (level,) = await engine.stock_levels(["A"])
    assert level.reserved == 1
    await engine.close()


async def test_what_waits_when_the_last_link_goes_was_never_sent(
    own_server: EmbeddedRedis, eventually: Callable[..., Any]
) -> None:
    engine = await Engine.connect(own_server.url, EngineSettings(links=1))
    await stock(engine)
    pause(own_server)
    sent = asyncio.ensure_future(engine.execute(holding()))
    await eventually(lambda: engine.in_flight == 1)
    waiting = [asyncio.ensure_future(engine.execute(holding())) for _ in range(5)]
    await eventually(lambda: engine.queue_depth == 5)

    own_server.kill()

    done = await asyncio.gather(sent, *waiting, return_exceptions=True)
    assert [type(one) for one in done] == [OutcomeUnknown] + [Disconnected] * 5
    await engine.close()


async def test_a_server_that_stops_answering(
    own_server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., Any]
) -> None:
    monkeypatch.setattr("engine.batcher.REPLY_TIMEOUT_S", 0.2)
    engine = await Engine.connect(own_server.url)
    await stock(engine)
    pause(own_server)

    with pytest.raises(OutcomeUnknown):
        await asyncio.wait_for(engine.execute(holding()), 10)

    os.kill(own_server.process.pid, signal.SIGCONT)
    await connected_again(engine, eventually)
    assert (await engine.execute(holding())).status == "ok"
    await engine.close()


async def test_every_link_comes_back_and_no_more(
    own_server: EmbeddedRedis, own_client: redis.Redis, eventually: Callable[..., Any]
) -> None:
    engine = await Engine.connect(own_server.url, EngineSettings(links=4))

    def links() -> int:
        return sum(one["name"] == "holdfast" for one in own_client.client_list())

    assert links() == 4
    for _ in range(3):
        own_client.client_kill_filter(_type="normal", skipme=True)
        await eventually(lambda: not engine.connected or links() < 4, what="the links are gone")
        await eventually(lambda: links() >= 4, what="four links again")
        await eventually(lambda: engine.connected)
    await asyncio.gather(*(engine.execute(Availability("A=1")) for _ in range(50)))

    await eventually(lambda: links() == 4, what="exactly four links")
    await engine.close()


async def test_no_script_under_load_is_no_error(open_engine: OpenEngine, redis_client: redis.Redis) -> None:
    engine = await open_engine()
    await stock(engine, units=1_000_000)
    statuses: list[str] = []

    async def buyer() -> None:
        for _ in range(60):
            statuses.append((await engine.execute(holding())).status)

    async def flusher() -> None:
        for _ in range(30):
            redis_client.script_flush()
            await asyncio.sleep(0)

    await asyncio.gather(flusher(), *(buyer() for _ in range(32)))

    assert statuses == ["ok"] * 60 * 32
    (level,) = await engine.stock_levels(["A"])
    assert level.reserved == 60 * 32


# -- what Redis refuses


async def test_the_fence(open_engine: OpenEngine, redis_client: redis.Redis) -> None:
    engine = await open_engine(epoch=2)

    with pytest.raises(NotReady):
        await engine.execute(Availability("A=1"))

    engine.admission.admit(1, "")
    assert (await engine.execute(Availability("A=1"))).status == "unknown_sku"
    redis_client.flushall()
    with pytest.raises(NotReady):
        await engine.execute(Availability("A=1"))


async def test_out_of_memory_lets_ends_through_and_refuses_the_rest(
    own_server: EmbeddedRedis, own_client: redis.Redis
) -> None:
    engine = await Engine.connect(own_server.url, EngineSettings(links=1))
    await stock(engine)
    held = await engine.reserve([("A", 5)], customer_id="ann")
    own_client.config_set("maxmemory", "1")

    done = await asyncio.gather(
        engine.execute(holding()),
        engine.execute(Release(held.id[:24], held.created_ms)),
        engine.execute(holding()),
        return_exceptions=True,
    )

    assert [type(one).__name__ for one in done] == ["StoreRefused", "Result", "StoreRefused"]
    assert str(done[0]).startswith("OOM")
    (level,) = await engine.stock_levels(["A"])
    assert level.reserved == 0
    await engine.close()


async def test_a_script_error_names_the_lua_file(open_engine: OpenEngine, redis_client: redis.Redis) -> None:
    engine = await open_engine()
    redis_client.hset(KEYS.stock, "A", "damaged")

    with pytest.raises(StoreRefused, match=r"lua/lib/load\.lua:\d+"):
        await engine.execute(holding())


@pytest.mark.parametrize("damage", ["counters", "record"])
async def test_one_damaged_value_refuses_only_who_names_it(
    open_engine: OpenEngine, redis_client: redis.Redis, damage: str
) -> None:
    engine = await open_engine(links=2)
    await stock(engine)
    await stock(engine, "B")
    held = await engine.execute(holding("B=1"))
    base = held.reservations[0].id[:24]
    victim: Any = holding("B=1") if damage == "counters" else Read(base, held.now_ms)
    if damage == "counters":
        redis_client.hset(KEYS.stock, "B", "damaged")
    else:
        redis_client.set(KEYS.record(base), b"\xc1", px=60_000)
    commands: list[Any] = [holding() for _ in range(200)]
    commands.insert(77, victim)
    commands.insert(140, victim)

    done = await asyncio.gather(*(engine.execute(one) for one in commands), return_exceptions=True)

    assert [n for n, one in enumerate(done) if isinstance(one, StoreRefused)] == [77, 140]
    assert sum(isinstance(one, Result) and one.status == "ok" for one in done) == 200
    (level,) = await engine.stock_levels(["A"])
    assert level.reserved == 200
    before = engine.batcher.batches
    await engine.apply([holding() for _ in range(20)])
    assert engine.batcher.batches - before == 1, "afterwards they travel together again"


# -- due holds, ended inside the engine


async def test_due_holds_are_sellable_at_once(open_engine: OpenEngine) -> None:
    engine = await open_engine(clock_ms=1_800_000_000_000)
    await stock(engine, units=10)
    held = await engine.reserve([("A", 10)], customer_id="ann", ttl_ms=1_000)
    engine.batcher.clock_ms += 1_000  # type: ignore[operator]

    taken = await engine.reserve([("A", 10)], customer_id="bob")

    assert taken.status == "ACTIVE"
    assert (await engine.reservation(held.id)).status == "EXPIRED"


async def test_more_due_holds_than_one_round_takes(open_engine: OpenEngine) -> None:
    engine = await open_engine(clock_ms=1_800_000_000_000)
    await stock(engine, units=1_000)
    await engine.apply([holding(ttl_ms=1_000) for _ in range(1_000)])
    engine.batcher.clock_ms += 1_000  # type: ignore[operator]

    taken = await engine.reserve([("A", 1_000)], customer_id="bob")

    assert taken.lines == (("A", 1_000),)
    (level,) = await engine.stock_levels(["A"])
    assert level.reserved == 1_000


GARBAGE = {
    "a member that names no base": "garbage",
    "a member that is no id": "z" * 36 + " A=1",
    "a member without lines": "0" * 36 + " ",
    "a member that is not text": b"\xff" * 40,
    "a hold that the counters do not cover": "0" * 36 + " A=999999",
    "a SKU that is gone": "0" * 36 + " GONE=1",
    "lines that are none": "0" * 36 + " A=0",
}


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_garbage_among_the_deadlines_hangs_nobody(
    open_engine: OpenEngine, redis_client: redis.Redis, garbage: str
) -> None:
    engine = await open_engine(links=1)
    await stock(engine, units=1)
    redis_client.zadd(KEYS.deadlines, {GARBAGE[garbage]: 1})

    result = await asyncio.wait_for(engine.execute(holding("A=2")), 10)

    assert result.status == "insufficient_stock"
    redis_client.delete(KEYS.deadlines)


async def test_an_answer_that_cannot_be_read_hangs_nobody(
    open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await open_engine(links=1)

    def unreadable(_: bytes, __: int) -> Any:
        raise ValueError("not msgpack")

    with monkeypatch.context() as patch:
        patch.setattr("engine.batcher.decode_answer", unreadable)
        with pytest.raises(OutcomeUnknown):
            await asyncio.wait_for(engine.execute(Availability("A=1")), 10)
    assert (await engine.execute(Availability("A=1"))).status == "unknown_sku"


async def test_a_reply_is_raw_and_cheap(open_engine: OpenEngine) -> None:
    engine = await open_engine()
    await stock(engine)
    engine.submit(holding(), answers := Answers(1))

    (reply,) = await answers.all()

    assert isinstance(reply, Reply)
    assert (reply.status, reply.payload, reply.seq) == ("ok", (), 3)


async def test_two_engines_open_the_same_partition(own_server: EmbeddedRedis, own_client: redis.Redis) -> None:
    first, second = await Engine.connect(own_server.url), await Engine.connect(own_server.url)
    await stock(first, units=100)
    await asyncio.gather(*(one.execute(holding()) for one in (first, second) for _ in range(50)))

    open_partition(own_client, epoch=1, ledger_seq=0)
    state = await second.journal_state()
    assert (state.epoch, state.seq) == (1, 102)
    await first.close()
    await second.close()
