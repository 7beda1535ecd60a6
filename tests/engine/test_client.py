"""The client for asyncio: a lost server is a ConnectionError of redis-py, also on the event loop of the services."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable

import pytest
import redis
import uvloop
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as LostConnection

from engine.client import open_client
from runtime.embedded_redis import EmbeddedRedis

CALLERS = 16
ROUNDS = 300
SEED = 20


async def _seen_by_callers(client: Redis, admin: redis.Redis) -> Counter[str]:
    """What comes out of calls whose connections are cut again and again, at any moment."""
    rng = random.Random(SEED)
    seen: Counter[str] = Counter()
    over = asyncio.Event()

    async def call() -> None:
        while not over.is_set():
            try:
                await client.ping()
                seen["answer"] += 1
            except Exception as error:  # noqa: BLE001 - whatever comes is what is looked for
                seen[type(error).__name__ if isinstance(error, LostConnection) else repr(error)] += 1
            await asyncio.sleep(0)

    callers = [asyncio.create_task(call()) for _ in range(CALLERS)]
    for _ in range(ROUNDS):
        await asyncio.sleep(rng.random() * 0.002)
        await asyncio.to_thread(admin.client_kill_filter, _type="normal", skipme=True)
    over.set()
    await asyncio.gather(*callers)
    assert await client.ping()
    await client.aclose()
    return seen


def test_a_connection_cut_at_any_moment_is_a_connection_error(
    own_server: EmbeddedRedis, own_client: redis.Redis
) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        seen = runner.run(_seen_by_callers(open_client(own_server.url), own_client))

    # On a slow machine no call may come through at all in between.
    assert seen["ConnectionError"]
    assert set(seen) <= {"answer", "ConnectionError"}


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_connection_that_goes_before_the_command_is_written(
    loop_factory: Callable[[], asyncio.AbstractEventLoop], own_server: EmbeddedRedis
) -> None:
    async def send() -> None:
        async with open_client(own_server.url) as client:
            connection = await client.connection_pool.get_connection()
            # What a reset by the server comes to, at the one moment that luck alone does not find each time.
            connection._writer.transport.abort()
            try:
                await connection.send_command("PING")
            finally:
                await client.connection_pool.release(connection)

    with asyncio.Runner(loop_factory=loop_factory) as runner, pytest.raises(LostConnection):
        runner.run(send())


def test_every_kind_of_address_has_its_kind_of_connection() -> None:
    kinds = {
        url: open_client(url).connection_pool.connection_class.__mro__[2]
        for url in ("redis://host", "rediss://host", "unix:///a/b")
    }

    assert [kind.__name__ for kind in kinds.values()] == ["Connection", "SSLConnection", "UnixDomainSocketConnection"]
    with pytest.raises(ValueError, match="scheme"):
        open_client("http://host")
