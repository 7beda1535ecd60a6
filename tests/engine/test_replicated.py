"""engine/replicated.py: an answer that waits for replicas says no more than they do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine import Engine, EngineSettings, InvalidCommand, OutcomeUnknown, Reserve, Unavailable, Unreplicated
from engine.identity import fingerprint
from tests.engine.calls import KEYS, holding, stock
from tests.link_proxy import LinkProxy
from tests.replica_pair import ReplicaPair

SHORT_MS = 50
"""A wait that is meant to fail."""
LONG_MS = 4_000
"""A wait that is meant to succeed, on a machine that may be very busy."""

OpenEngine = Callable[..., Awaitable[Engine]]


@pytest.fixture
def pair(server_folder: Path) -> Iterator[ReplicaPair]:
    pair = ReplicaPair(server_folder)
    pair.follow()
    yield pair
    pair.close()


@pytest.fixture
async def connect() -> AsyncIterator[OpenEngine]:
    """`await connect(url, **EngineSettings)`: an engine that waits for one replica, with stock, closed afterwards."""
    engines: list[Engine] = []

    async def opened(url: str, replica_timeout_ms: int = LONG_MS, **chosen: Any) -> Engine:
        settings = EngineSettings(replicas=1, replica_timeout_ms=replica_timeout_ms, **chosen)
        engines.append(await Engine.connect(url, settings))
        return engines[-1]

    yield opened
    for engine in engines:
        await engine.close()


def repeatable() -> Reserve:
    """A reserve with an Idempotency-Key."""
    return msgspec.structs.replace(holding(), fingerprint=fingerprint(b"the request"))


async def held(engine: Engine) -> int:
    (level,) = await engine.stock_levels(["A"])
    return level.reserved


async def test_the_replica_has_what_is_answered(pair: ReplicaPair, connect: OpenEngine) -> None:
    engine = await connect(pair.primary.url)
    await stock(engine)

    for _ in range(50):
        result = await engine.execute(holding(), replicated=True)
        assert result.status == "ok"
        assert pair.seq_on_replica() >= result.seq
    assert engine.unreplicated == 0


async def test_a_replica_that_says_nothing_makes_it_unknown_and_repeating_it_waits_again(
    pair: ReplicaPair, connect: OpenEngine
) -> None:
    engine = await connect(pair.primary.url, SHORT_MS)
    await stock(engine)
    pair.caught_up()
    pair.pause_replica()
    command = repeatable()

    # Again and again: the repeats write nothing, travel over both links, and must not be answered for that.
    for _ in range(6):
        with pytest.raises(Unreplicated, match="0 of 1 replicas have it after 50 ms"):
            await engine.execute(command, replicated=True)
    another = await connect(pair.primary.url, SHORT_MS)
    with pytest.raises(Unreplicated):
        await another.execute(command, replicated=True)
    assert engine.unreplicated == 6
    assert await held(engine) == 1

    pair.resume_replica()
    pair.caught_up()
    patient = await connect(pair.primary.url)
    assert (await patient.execute(command, replicated=True)).status == "replayed"
    assert await held(engine) == 1


async def test_what_is_refused_needs_no_replica(pair: ReplicaPair, connect: OpenEngine) -> None:
    engine = await connect(pair.primary.url, SHORT_MS)
    await stock(engine, units=3)
    pair.pause_replica()

    done = await asyncio.gather(
        engine.execute(holding("A=2"), replicated=True),
        engine.execute(holding("A=9"), replicated=True),
        engine.execute(holding("B=1"), replicated=True),
        return_exceptions=True,
    )

    assert isinstance(done[0], Unreplicated)
    assert [one.status for one in done[1:]] == ["insufficient_stock", "unknown_sku"]  # type: ignore[union-attr]


async def test_who_asks_for_no_replica_waits_for_none(pair: ReplicaPair, connect: OpenEngine) -> None:
    engine = await connect(pair.primary.url)
    await stock(engine)
    pair.pause_replica()
    waiting = [asyncio.ensure_future(engine.execute(holding(), replicated=True)) for _ in range(200)]
    await asyncio.sleep(0)

    assert (await engine.execute(holding())).status == "ok"
    assert not any(one.done() for one in waiting)

    pair.resume_replica()
    assert {one.status for one in await asyncio.gather(*waiting)} == {"ok"}


async def test_due_holds_are_ended_on_the_way(
    pair: ReplicaPair, connect: OpenEngine, eventually: Callable[..., Any]
) -> None:
    engine = await connect(pair.primary.url)
    await stock(engine, units=1)
    await engine.execute(holding(ttl_ms=1))

    async def sold() -> bool:
        return (await engine.execute(holding(), replicated=True)).status == "ok"

    await eventually(sold, 30)
    assert await held(engine) == 1


async def test_no_script_under_load(pair: ReplicaPair, connect: OpenEngine) -> None:
    engine = await connect(pair.primary.url)
    await stock(engine)
    statuses: list[str] = []

    async def buyer() -> None:
        for _ in range(20):
            statuses.append((await engine.execute(holding(), replicated=True)).status)

    async def forgetful() -> None:
        with pair.primary.client() as client:
            for _ in range(20):
                client.script_flush()
                await asyncio.sleep(0)

    await asyncio.gather(forgetful(), *(buyer() for _ in range(16)))

    assert statuses == ["ok"] * 320
    assert await held(engine) == 320


async def test_a_server_that_is_demoted_while_it_waits(
    pair: ReplicaPair, connect: OpenEngine, eventually: Callable[..., Any]
) -> None:
    engine = await connect(pair.primary.url)
    await stock(engine)
    pair.pause_replica()
    sent = asyncio.ensure_future(engine.execute(holding(), replicated=True))
    with pair.primary.client() as client:
        await eventually(lambda: int(client.info("clients")["blocked_clients"]) == 1, 30)
        client.replicaof("127.0.0.1", "1")

        with pytest.raises(Unreplicated, match="UNBLOCKED"):
            await sent
        client.replicaof("NO", "ONE")


async def test_a_connection_that_is_lost_while_it_waits(
    pair: ReplicaPair, connect: OpenEngine, eventually: Callable[..., Any]
) -> None:
    engine = await connect(pair.primary.url, links=1)
    await stock(engine)
    pair.pause_replica()
    command = repeatable()
    sent = asyncio.ensure_future(engine.execute(command, replicated=True))
    with pair.primary.client() as client:
        await eventually(lambda: int(client.info("clients")["blocked_clients"]) == 1, 30)
        (blocked,) = [one for one in client.client_list() if "b" in one["flags"]]
        client.client_kill_filter(_id=blocked["id"])

    with pytest.raises(OutcomeUnknown):
        await sent
    pair.resume_replica()
    await eventually(lambda: engine.connected, 30)
    assert (await engine.execute(command, replicated=True)).status == "replayed"


async def test_a_user_that_may_not_wait_is_told(pair: ReplicaPair, connect: OpenEngine) -> None:
    with pair.primary.client() as client:
        client.execute_command("ACL", "SETUSER", "shop", "on", ">secret", "~*", "&*", "+@all", "-wait")
    path = pair.primary.url.removeprefix("unix://")
    engine = await connect(f"unix://shop:secret@{path}")
    await stock(engine)

    with pytest.raises(Unreplicated, match="NOPERM"):
        await engine.execute(holding(), replicated=True)


async def test_an_engine_without_replicas_cannot_be_asked(engine: Engine) -> None:
    with pytest.raises(InvalidCommand):
        await engine.execute(holding(), replicated=True)
    assert engine.unreplicated == 0


@pytest.mark.parametrize("replicated", [True, False], ids=["replicated", "journal"])
async def test_a_failover_behind_a_black_holed_link(
    server_folder: Path, connect: OpenEngine, eventually: Callable[..., Any], replicated: bool
) -> None:
    """Nothing acknowledged as replicated is lost; at level journal something is, or this would prove nothing."""
    pair = ReplicaPair(server_folder)
    proxy = LinkProxy(pair.primary.socket_path)
    port = await proxy.start_tcp()
    try:
        await asyncio.to_thread(pair.follow, port)
        engine = await connect(pair.primary.url, SHORT_MS)
        await stock(engine, units=1_000_000)
        acknowledged: list[Reserve] = []
        unknown = 0
        stop = asyncio.Event()

        async def buyer() -> None:
            nonlocal unknown
            while not stop.is_set():
                command = repeatable()
                try:
                    await engine.execute(command, replicated=replicated)
                except Unavailable:
                    unknown += 1
                else:
                    acknowledged.append(command)

        buyers = [asyncio.ensure_future(buyer()) for _ in range(16)]
        await eventually(lambda: len(acknowledged) >= 500, 60)
        proxy.black_hole(True)
        before = len(acknowledged) + unknown
        await eventually(lambda: len(acknowledged) + unknown >= before + 100, 60)
        pair.primary.kill()
        stop.set()
        await asyncio.gather(*buyers)
        pair.promote()

        with pair.replica.client() as client:
            lost = [one for one in acknowledged if not client.exists(KEYS.record(one.base))]
        if replicated:
            assert (lost, unknown > 0) == ([], True)
            assert engine.unreplicated > 0
        else:
            assert lost
    finally:
        await proxy.close()
        pair.close()
