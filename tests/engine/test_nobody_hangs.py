"""engine/batcher.py: every command gets its answer, whatever Redis holds and whenever it falls silent."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from engine import Availability, Engine, EngineSettings, NotReady, OutcomeUnknown, Read, Result
from engine import link as engine_link
from engine.batch_answer import decode_answer
from engine.batcher import MAX_DAMAGED
from engine.results import Record
from runtime.embedded_redis import EmbeddedRedis
from tests.engine.calls import KEYS, holding, stock
from tests.engine.conftest import OpenEngine, pause

PATIENCE_S = 60


async def test_more_due_holds_that_cannot_end_than_can_be_named(
    open_engine: OpenEngine, redis_client: redis.Redis
) -> None:
    engine = await open_engine(clock_ms=1_800_000_000_000)
    await stock(engine, "A", units=10_000)
    await stock(engine, "B", units=10)
    await engine.apply([holding("A=1", ttl_ms=1_000) for _ in range(MAX_DAMAGED + 400)])
    await engine.execute(holding("B=10", ttl_ms=1_000))
    # One counter, damaged from outside: none of its holds can be given back.
    redis_client.hset(KEYS.stock, "A", "10000 0 0 0 1")
    engine.batcher.clock_ms += 2_000  # type: ignore[operator]

    short = await asyncio.wait_for(engine.execute(holding("B=1000")), PATIENCE_S)

    assert short.status == "insufficient_stock"
    assert (await asyncio.wait_for(engine.execute(Availability("B=1")), PATIENCE_S)).status == "ok"
    redis_client.delete(KEYS.deadlines)


def _spoil(redis_client: redis.Redis, base: str) -> None:
    """The record of a hold, its owner no longer UTF-8."""
    raw: Any = redis_client.get(KEYS.record(base))
    fields = list(msgspec.structs.astuple(msgspec.msgpack.decode(raw, type=Record)))
    fields[4] = "owner-of-it"
    packed = msgspec.msgpack.encode(fields)
    redis_client.set(KEYS.record(base), packed.replace(b"owner-of-it", b"owner\xff\xfe\xff-it"), keepttl=True)


async def test_a_record_that_is_no_text_takes_no_neighbour_along(
    open_engine: OpenEngine, redis_client: redis.Redis
) -> None:
    engine = await open_engine(links=1)
    await stock(engine)
    held = await engine.execute(holding())
    _spoil(redis_client, held.reservations[0].id[:24])
    commands: list[Any] = [holding() for _ in range(20)]
    commands.insert(7, Read(held.reservations[0].id[:24], held.now_ms))

    done = await asyncio.wait_for(
        asyncio.gather(*(engine.execute(one) for one in commands), return_exceptions=True), PATIENCE_S
    )

    assert isinstance(done.pop(7), OutcomeUnknown)
    assert {one.status for one in done if isinstance(one, Result)} == {"ok"}
    assert len(done) == 20
    assert engine.connected, "the link is not to blame"


async def test_what_must_be_asked_again_is_refused_once_nothing_is_admitted(
    own_server: EmbeddedRedis, eventually: Callable[..., Any]
) -> None:
    engine = await Engine.connect(own_server.url, EngineSettings(clock_ms=1_800_000_000_000))
    await stock(engine, units=1)
    await engine.execute(holding("A=1", ttl_ms=1_000))
    engine.batcher.clock_ms += 2_000  # type: ignore[operator]
    pause(own_server)
    # Its answer will be that holds are due, to be ended first.
    sent = asyncio.ensure_future(engine.execute(holding("A=1")))
    await eventually(lambda: engine.in_flight == 1)

    engine.admission.refuse("a person must decide")
    own_server.process.send_signal(signal.SIGCONT)

    with pytest.raises(NotReady, match="a person must decide"):
        await asyncio.wait_for(sent, PATIENCE_S)
    assert engine.queue_depth == 0
    await engine.close()


async def test_a_server_that_falls_silent_while_a_link_is_opened(
    own_server: EmbeddedRedis,
    server_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[..., Any],
) -> None:
    """A black hole in between: nothing comes, and nothing ends."""
    monkeypatch.setattr("engine.batcher.REPLY_TIMEOUT_S", 0.5)
    met: list[bytes] = []
    silent = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_unix_connection(own_server.socket_path)

        async def back() -> None:
            while data := await there_reader.read(65536):
                writer.write(data)
            writer.close()

        answers = asyncio.ensure_future(back())
        while data := await reader.read(65536):
            met.append(data)
            if not (b"LOAD" in data and silent.is_set()):
                there_writer.write(data)
        answers.cancel()
        there_writer.close()

    proxy = await asyncio.start_unix_server(serve, server_folder / "hole.sock")
    engine = await Engine.connect(f"unix://{server_folder}/hole.sock", EngineSettings(links=1))
    silent.set()
    own_server.client().client_kill_filter(_type="normal", skipme=True)
    await eventually(lambda: sum(b"LOAD" in data for data in met) >= 3, what="it is tried again and again")
    silent.clear()

    await eventually(lambda: engine.connected, what="a link, once there are answers again")
    await stock(engine)
    await engine.close()
    proxy.close()


async def test_an_error_that_nobody_foresaw_does_not_end_the_reconnecting(
    own_server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., Any]
) -> None:
    engine = await Engine.connect(own_server.url, EngineSettings(links=1))
    tried = 0
    real = engine_link.open_link

    async def open_link(*arguments: Any) -> engine_link.Link:
        nonlocal tried
        tried += 1
        if tried < 3:
            raise RuntimeError("the handler is closed")
        return await real(*arguments)

    monkeypatch.setattr("engine.batcher.open_link", open_link)
    with own_server.client() as client:
        client.client_kill_filter(_type="normal", skipme=True)

    await eventually(lambda: tried == 3 and engine.connected, what="a link again")
    assert (await engine.execute(Availability("A=1"))).status == "unknown_sku"
    await engine.close()


async def test_damage_is_looked_at_anew_after_a_while(
    open_engine: OpenEngine,
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[..., Any],
) -> None:
    monkeypatch.setattr("engine.batcher.DAMAGE_REMEMBERED_S", 0.0)
    monkeypatch.setattr("engine.batcher.REPLY_TIMEOUT_S", 10.0)
    engine = await open_engine(clock_ms=1_800_000_000_000)
    await stock(engine, units=10)
    await engine.execute(holding("A=10", ttl_ms=1_000))
    redis_client.hset(KEYS.stock, "A", "10 9 0 0 1")
    engine.batcher.clock_ms += 2_000  # type: ignore[operator]
    assert (await engine.execute(holding("A=5"))).status == "insufficient_stock"
    redis_client.hset(KEYS.stock, "A", "10 10 0 0 1")

    async def sold() -> bool:
        return (await engine.execute(holding("A=5"))).status == "ok"

    await eventually(sold, what="the hold is ended now that it can be")


@pytest.mark.parametrize("answer", [[1, 2, [], []], [1, 2, [["ok"], ["ok"]], []], [1, 2, "ok", []], "ok", [1]], ids=str)
def test_what_is_no_answer_to_the_batch_is_refused_whole(answer: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_answer(msgspec.msgpack.encode(answer), 1)
