"""The proof that nothing is left behind finds what was planted, and only that."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from engine import Configure, Engine
from engine.identity import BASE_LENGTH
from engine.keys import partition_keys
from inventory.context import Inventory
from inventory.leftover_holds import leftover_holds
from inventory.refusals import LedgerLate
from tests.waiting import eventually
from worker.flusher import Flusher
from worker.jobs.running import Outcome

KEYS = partition_keys(0)
LONG_AGO = datetime.now(UTC) - timedelta(days=2)
Sql = Callable[..., list[tuple[object, ...]]]


@pytest.fixture
async def hold(engine: Engine) -> Any:
    await engine.execute(Configure("MUG", 0, 0, True, 100, "tests"))
    return await engine.reserve([("MUG", 2)], customer_id="ann", ttl_ms=600_000)


def put_back(client: redis.Redis, hold: Any, seconds: float) -> None:
    """The hold's deadline as if it had been that long ago, in Redis."""
    (member,) = [name for name in client.zrange(KEYS.deadlines, 0, -1) if name.decode().startswith(hold.id)]
    server_s, micros = client.time()
    client.zadd(KEYS.deadlines, {member: int((server_s + micros / 1e6 - seconds) * 1000)})


async def test_a_hold_that_is_still_there_is_found(
    inventory: Inventory, flusher: Flusher, redis_client: redis.Redis, hold: Any
) -> None:
    assert await leftover_holds(inventory, LONG_AGO, 0.0) == ()
    put_back(redis_client, hold, 3)
    assert await leftover_holds(inventory, LONG_AGO, 0.0) == ()
    put_back(redis_client, hold, 8)
    (found,) = await leftover_holds(inventory, LONG_AGO, 0.0)
    assert (found.reservation_id, found.what) == (hold.id, "held")
    await inventory.engine.release(hold.id)
    assert await leftover_holds(inventory, LONG_AGO, 0.0) == ()


async def test_a_hold_that_only_the_ledger_knows_is_found(
    inventory: Inventory, flusher: Flusher, redis_client: redis.Redis, hold: Any, sql: Sql
) -> None:
    await eventually(lambda: sql("SELECT 1 FROM stock_reservations"), what="flushed")
    sql("UPDATE stock_reservations SET expires_at = now() - interval '20 s'")
    # Redis knows better: it was amended, and the ledger is about to hear of it.
    assert await leftover_holds(inventory, LONG_AGO, 0.0) == ()
    redis_client.delete(KEYS.record(hold.id[:BASE_LENGTH]))
    (found,) = await leftover_holds(inventory, LONG_AGO, 0.0)
    assert (found.reservation_id, found.what) == (hold.id, "forgotten")
    # Earlier runs have looked at it.
    assert await leftover_holds(inventory, datetime.now(UTC) - timedelta(seconds=10), 0.0) == ()


async def test_without_the_ledger_nothing_is_proved(
    inventory: Inventory, hold: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inventory.leftover_holds.LEDGER_WITHIN_S", 0.05)
    with pytest.raises(LedgerLate):
        await leftover_holds(inventory, LONG_AGO, 0.0)


async def test_the_job_fails_and_names_them(
    inventory: Inventory,
    flusher: Flusher,
    redis_client: redis.Redis,
    hold: Any,
    run_job: Callable[..., Any],
    sql: Sql,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outcome: Outcome = await run_job("holds.leftover")
    assert outcome.status == "ok"
    put_back(redis_client, hold, 100)
    monkeypatch.setattr("worker.jobs.upkeep.SETTLE_S", 0.05)
    outcome = await run_job("holds.leftover")
    assert outcome.status == "failed"
    assert f"1 holds outlived their deadline: {hold.id} (held since" in outcome.told
    assert sql("SELECT status FROM job_runs ORDER BY id") == [("ok",), ("failed",)]
