"""Redis that will not take writes: callers learn that nothing changed, and the engine carries on when it is over."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis

from engine import Availability, Configure, Engine, StoreRefused
from engine.commands import Release
from runtime.embedded_redis import EmbeddedRedis
from tests.scripts.machine import dump


@pytest.fixture
async def shop(own_server: EmbeddedRedis) -> AsyncIterator[Engine]:
    engine = await Engine.connect(own_server.url)
    await engine.execute(Configure("A", 0, 0, True, 10, "admin"))
    yield engine
    await engine.close()


def no_replicas(client: redis.Redis, on: bool) -> None:
    client.config_set("min-replicas-to-write", "1" if on else "0")


def read_only(client: redis.Redis, on: bool) -> None:
    """A replica of a primary that is not there keeps its data and takes no write."""
    if on:
        client.config_set("replica-serve-stale-data", "yes")
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
    else:
        client.execute_command("REPLICAOF", "NO", "ONE")


@pytest.mark.parametrize(("refuse", "says"), [(no_replicas, "NOREPLICAS"), (read_only, "READONLY")])
async def test_writes_are_refused_whole(
    shop: Engine, own_client: redis.Redis, refuse: Callable[[redis.Redis, bool], None], says: str
) -> None:
    hold = await shop.reserve([("A", 1)], customer_id="ann")
    before = dump(own_client)
    refuse(own_client, True)

    for verb in (shop.confirm, shop.release):
        with pytest.raises(StoreRefused, match=says):
            await verb(hold.id)
    with pytest.raises(StoreRefused, match=says):
        await shop.reserve([("A", 1)], customer_id="bob")

    assert dump(own_client) == before
    refuse(own_client, False)
    assert (await shop.confirm(hold.id)).status == "COMPLETED"


async def test_a_server_busy_with_somebody_elses_script(
    shop: Engine, own_server: EmbeddedRedis, own_client: redis.Redis, eventually: Callable[..., Any]
) -> None:
    hold = await shop.reserve([("A", 1)], customer_id="ann")
    own_client.config_set("lua-time-limit", "10")

    def run_for_ever() -> None:
        with own_server.client() as client, pytest.raises(redis.ResponseError, match="killed"):
            client.eval("while true do end", 0)

    other = threading.Thread(target=run_for_ever)
    other.start()

    async def is_busy() -> bool:
        try:
            await shop.execute(Availability("A=1"))
        except StoreRefused as refused:
            return "BUSY" in str(refused)
        return False

    await eventually(is_busy)
    with pytest.raises(StoreRefused, match="BUSY"):
        await shop.execute(Release(hold.id[:24], hold.created_ms))
    own_client.script_kill()
    other.join(60)

    assert (await shop.release(hold.id)).status == "CANCELLED"
