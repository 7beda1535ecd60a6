"""engine/batcher.py: coalescing, limits, and callers that must not hurt each other."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engine import (
    Adjust,
    Availability,
    Disconnected,
    InvalidCommand,
    Overloaded,
    Read,
    Reserve,
    limits,
)
from engine.commands import Expire
from engine.identity import random_base
from tests.engine.calls import Answers, holding, stock
from tests.engine.conftest import OpenEngine

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
