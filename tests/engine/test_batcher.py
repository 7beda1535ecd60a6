"""engine/batcher.py: coalescing, limits, and what callers learn when things go wrong."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import redis

from engine import (
    Adjust,
    Availability,
    Configure,
    Disconnected,
    Engine,
    EngineSettings,
    InvalidCommand,
    NotReady,
    OutcomeUnknown,
    Overloaded,
    Read,
    Reply,
    Reserve,
    Result,
    StoreRefused,
    limits,
)
from engine.bootstrap import open_partition
from engine.commands import Expire, Release
from engine.identity import random_base
from engine.keys import partition_keys
from runtime.embedded_redis import EmbeddedRedis
from tests.engine.conftest import OpenEngine, pause

KEYS = partition_keys(0)
DETAILS = '{"c":"ann"}'


def holding(lines: str = "A=1", ttl_ms: int = 60_000) -> Reserve:
    return Reserve(random_base(), lines, ttl_ms, details=DETAILS)


async def stock(engine: Engine, sku: str = "A", units: int = 10_000) -> None:
    assert (await engine.execute(Configure(sku, 0, 0, True, units, "admin"))).status == "ok"


class Answers:
    """Collects what `submit` hands back."""

    def __init__(self, expected: int) -> None:
        self.got: list[Any] = []
        self._expected = expected
        self._done = asyncio.Event()

    def __call__(self, _: Any, reply: Any) -> None:
        self.got.append(reply)
        if len(self.got) == self._expected:
            self._done.set()

    async def all(self) -> list[Any]:
        await asyncio.wait_for(self._done.wait(), 20)
        return self.got


# -- coalescing


async def test_the_next_batch_takes_all_that_waits(open_engine: OpenEngine) -> None:
    engine = await open_engine(links=1)
    await stock(engine)
    before = engine.batcher.batches
    answers = Answers(201)

    engine.submit(holding(), answers)
    await asyncio.sleep(0)
    assert engine.in_flight == 1
    for _ in range(200):
        engine.submit(holding(), answers)
    await answers.all()

    assert engine.batcher.batches - before == 2


async def test_calls_of_one_turn_of_the_loop_are_one_batch(open_engine: OpenEngine) -> None:
    engine = await open_engine(links=1)
    await stock(engine)
    before = engine.batcher.batches

    await asyncio.gather(*(engine.execute(holding()) for _ in range(100)))

    assert engine.batcher.batches - before == 1


async def test_a_lone_call_does_not_wait_for_company(open_engine: OpenEngine) -> None:
    engine = await open_engine()
    await stock(engine)

    engine.submit(holding(), answers := Answers(1))
    await asyncio.sleep(0)

    assert engine.in_flight == 1
    assert engine.queue_depth == 0
    await answers.all()


async def test_a_batch_is_bounded_in_commands(open_engine: OpenEngine) -> None:
    engine = await open_engine(links=1)
    await stock(engine)
    before = engine.batcher.batches
    answers = Answers(limits.MAX_BATCH_COMMANDS * 3 + 1)

    for _ in range(limits.MAX_BATCH_COMMANDS * 3 + 1):
        engine.submit(holding(), answers)

    assert {reply.status for reply in await answers.all()} == {"ok"}
    assert engine.batcher.batches - before == 4


@pytest.mark.parametrize("verb", ["reserve", "adjust", "expire", "availability"])
async def test_a_batch_is_bounded_in_lines(open_engine: OpenEngine, verb: str) -> None:
    engine = await open_engine(links=1)
    skus = [f"SKU-{n:010d}" for n in range(1_000)]
    text = ",".join(f"{sku}=1" for sku in skus)
    base = random_base()
    command: Any = {
        "reserve": holding(text),
        "adjust": Adjust(base, tuple((sku, "add", 1) for sku in skus), "IN", "reason", "", "", "admin"),
        "expire": Expire(base, f"{base}{0:012x} {text}"),
        "availability": Availability(text),
    }[verb]
    before = engine.batcher.batches
    answers = Answers(20)

    for _ in range(20):
        engine.submit(command, answers)
    await answers.all()

    assert engine.batcher.batches - before >= 20 * 1_000 // limits.MAX_BATCH_LINES


async def test_one_command_larger_than_a_batch_travels_alone(
    open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_BATCH_LINES", 10)
    engine = await open_engine(links=1)
    await stock(engine)
    before = engine.batcher.batches

    await asyncio.gather(*(engine.execute(holding(",".join(f"X{n}=1" for n in range(100)))) for _ in range(3)))

    assert engine.batcher.batches - before == 3


async def test_results_come_in_the_order_of_the_commands(open_engine: OpenEngine) -> None:
    engine = await open_engine()
    await stock(engine)
    commands = [holding("A=1" if n % 3 else "NOPE=1") for n in range(3_000)]

    results = await engine.apply(commands)

    assert [result.status for result in results] == ["ok" if n % 3 else "unknown_sku" for n in range(3_000)]
    assert [result.reservations[0].id[:24] for result in results if result.reservations] == [
        command.base for n, command in enumerate(commands) if n % 3
    ]


# -- callers do not hurt each other


async def test_a_cancelled_caller_cancels_nobody_else(open_engine: OpenEngine) -> None:
    engine = await open_engine(links=1)
    await stock(engine)
    tasks = [asyncio.ensure_future(engine.execute(holding())) for _ in range(100)]
    await asyncio.sleep(0)

    for task in tasks[::2]:
        task.cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(one).__name__ for one in done[:2]] == ["CancelledError", "Result"]
    assert sum(isinstance(one, asyncio.CancelledError) for one in done) == 50
    (level,) = await engine.stock_levels(["A"])
    assert level.reserved == 100, "what was sent is applied, whoever still waits for it"


async def test_a_callback_that_raises_takes_nobody_along(open_engine: OpenEngine) -> None:
    engine = await open_engine(links=1)
    await stock(engine)
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    answers = Answers(9)

    def bad(_: Any, reply: Any) -> None:
        raise RuntimeError("a bug of the caller")

    for n in range(10):
        engine.submit(holding(), bad if n == 3 else answers)

    assert [reply.status for reply in await answers.all()] == ["ok"] * 9
    assert [str(context["exception"]) for context in reported] == ["a bug of the caller"]
    assert (await engine.execute(holding())).status == "ok"


POISON: dict[str, Any] = {
    "a lone surrogate": Reserve(random_base(), "A=1", 60_000, details="\ud800"),
    "an integer past 64 bits": Reserve(random_base(), "A=1", 2**70),
    "something msgpack does not know": Reserve(random_base(), "A=1", 60_000, details=object()),  # type: ignore[arg-type]
    "a short base": Read("abc", 1),
    "a base of 24 characters that are more bytes": Read("é" * 24, 1),
}


@pytest.mark.parametrize("poison", POISON)
async def test_a_command_that_cannot_travel_does_not_take_its_batch_along(open_engine: OpenEngine, poison: str) -> None:
    engine = await open_engine(links=1)
    await stock(engine)

    done = await asyncio.gather(
        engine.execute(holding()),
        engine.execute(POISON[poison]),
        engine.execute(holding()),
        return_exceptions=True,
    )

    assert isinstance(done[1], InvalidCommand)
    assert [one.status for one in (done[0], done[2])] == ["ok", "ok"]  # type: ignore[union-attr]


async def test_two_bases_whose_lengths_make_up_for_each_other(open_engine: OpenEngine) -> None:
    engine = await open_engine(links=1)
    await stock(engine)

    done = await asyncio.gather(
        engine.execute(Read("a" * 23, 1)),
        engine.execute(Read("b" * 25, 1)),
        engine.execute(holding()),
        return_exceptions=True,
    )

    assert [type(one).__name__ for one in done] == ["InvalidCommand", "InvalidCommand", "Result"]


async def test_a_poison_command_alone(open_engine: OpenEngine) -> None:
    engine = await open_engine()

    with pytest.raises(InvalidCommand):
        await engine.execute(POISON["a lone surrogate"])
    assert (await engine.execute(Availability("A=1"))).status == "unknown_sku"


# -- back-pressure and closing


async def test_a_full_queue_refuses(open_engine: OpenEngine) -> None:
    engine = await open_engine(max_queue=10, links=1)
    await stock(engine)
    answers = Answers(10)
    for _ in range(10):
        engine.submit(holding(), answers)

    with pytest.raises(Overloaded) as refused:
        engine.submit(holding(), answers)

    assert refused.value.retry_after_s > 0
    assert [reply.status for reply in await answers.all()] == ["ok"] * 10
    assert (await engine.execute(holding())).status == "ok", "and it takes commands again"


async def test_apply_past_the_queue_raises_and_hangs_nobody(open_engine: OpenEngine) -> None:
    engine = await open_engine(max_queue=10, links=1)
    await stock(engine)

    with pytest.raises(Overloaded):
        await engine.apply([holding() for _ in range(30)])

    assert engine.queue_depth == 0
    assert engine.in_flight == 0


async def test_closing_answers_what_is_in_flight(open_engine: OpenEngine) -> None:
    engine = await open_engine(links=1)
    await stock(engine)
    answers = Answers(2)
    engine.submit(holding(), answers)
    await asyncio.sleep(0)
    assert engine.in_flight == 1
    engine.submit(holding(), answers)

    await engine.close()

    waited, sent = await answers.all()
    assert isinstance(waited, Disconnected)
    assert sent.status == "ok"
    with pytest.raises(Disconnected):
        engine.submit(holding(), answers)


# -- the server goes away


async def test_no_server() -> None:
    with pytest.raises(Disconnected):
        await Engine.connect("unix:///nowhere/redis.sock")


async def connected_again(engine: Engine, eventually: Callable[..., Any]) -> None:
    await eventually(lambda: engine.connected, what="a link is open again")


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

    await eventually(lambda: links() == 4, timeout_s=3, what="exactly four links")
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

    engine.batcher.epoch = 1
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

    def unreadable(_: bytes) -> Any:
        raise msgspec.DecodeError("not msgpack")

    with monkeypatch.context() as patch:
        patch.setattr("engine.batcher._decode_reply", unreadable)
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
