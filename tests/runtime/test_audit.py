"""The audit: silent on a store that is in order, and able to fail: each kind of damage is found and named."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import redis

from engine import Engine, EngineSettings, lines_text
from engine.bootstrap import open_partition
from engine.commands import Configure, Reserve
from engine.identity import derived_base
from persistence.ledger_writer import LedgerWriter
from runtime import audit
from runtime.audit import Check, NotQuiet, run_checks, take_pictures
from worker.service import Worker, WorkerSettings

SKUS = ("A", "B b", "C")


@pytest.fixture
async def store(redis_url: str, redis_client: redis.Redis, database_url: str, eventually: Callable[..., Any]) -> str:
    """A store with holds, sales and releases, all of it in the ledger; the database's URL."""
    open_partition(redis_client, 1, 0)
    engine = await Engine.connect(redis_url, EngineSettings())
    for sku in SKUS:
        await engine.execute(Configure(sku, 0, 0, True, 100, "admin"))
    holds = []
    for number in range(12):
        base = derived_base("reserve", "storefront", str(number))
        lines = lines_text((sku, 1 + number % 3) for sku in SKUS)
        command = Reserve(base, lines, 60_000, details='{"c":"ann"}', owner="storefront", fingerprint="f" * 16)
        holds.append((await engine.execute(command)).reservations[0].id)
    for hold in holds[:4]:
        await engine.confirm(hold, order_id=f"order-{hold}")
    for hold in holds[4:6]:
        await engine.release(hold)
    stop = asyncio.Event()
    working = asyncio.create_task(Worker(WorkerSettings(redis_url, database_url)).run(stop))
    seq = (await engine.journal_state()).seq
    writer = LedgerWriter(database_url, 0)
    await eventually(lambda: writer.read_cursor().seq == seq)
    stop.set()
    await working
    writer.close()
    await engine.close()
    return database_url


def broken(client: redis.Redis, database_url: str) -> list[Check]:
    return [check for check in run_checks(*take_pictures(client, database_url)) if check.differences]


async def test_a_store_in_order_passes_every_check(store: str, redis_client: redis.Redis) -> None:
    checks = run_checks(*take_pictures(redis_client, store))
    assert {check.number for check in checks} == {"1", "2", "3", "5", "6"}
    assert [check for check in checks if check.differences] == []
    assert all(check.looked_at for check in checks if "quarantine" not in check.statement)


@pytest.mark.parametrize(
    ("damage", "numbers"),
    [
        ("oversold", {"1", "2", "3"}),
        ("counter one too high", {"2", "3"}),
        ("sold without a ledger row", {"3"}),
        ("deadline lost", {"2", "3"}),
    ],
)
async def test_damage_in_redis_is_found(store: str, redis_client: redis.Redis, damage: str, numbers: set[str]) -> None:
    on_hand, reserved, *rest = [int(number) for number in redis_client.hget("{h00}:stock", "A").split()]  # type: ignore[union-attr]
    if damage == "oversold":
        reserved = on_hand + 1
    elif damage == "counter one too high":
        reserved += 1
    elif damage == "sold without a ledger row":
        on_hand -= 1
    else:
        redis_client.zpopmin("{h00}:deadlines")
    redis_client.hset("{h00}:stock", "A", " ".join(map(str, [on_hand, reserved, *rest])))
    found = broken(redis_client, store)
    assert {check.number for check in found} == numbers
    assert any("A:" in difference or "record" in difference for check in found for difference in check.differences)


async def test_a_gap_in_the_journal_is_found(store: str, redis_client: redis.Redis) -> None:
    second: Any = redis_client.xrange("{h00}:journal", count=2)
    redis_client.xdel("{h00}:journal", second[1][0])
    assert [check.number for check in broken(redis_client, store)] == ["5"]


async def test_damage_in_the_ledger_is_found(store: str, redis_client: redis.Redis) -> None:
    with psycopg.connect(store, autocommit=True) as connection:
        connection.execute("ALTER TABLE inventory_transactions DISABLE TRIGGER USER")
        changed = connection.execute(
            "UPDATE inventory_transactions SET previous_stock = previous_stock + 1, new_stock = new_stock + 1"
            " WHERE id = (SELECT max(id) FROM inventory_transactions WHERE sku = 'A' AND transaction_type = 'OUT')"
        )
        assert changed.rowcount == 1
        connection.execute("DELETE FROM inventory_transactions WHERE sku = 'C'")
        connection.execute("UPDATE stock_reservations SET status = 'ACTIVE' WHERE status = 'CANCELLED'")
    found = {check.statement: check.differences for check in broken(redis_client, store)}
    assert any("C: ledger 0" in text for text in found["ledger quantities of a SKU add up to its on_hand"])
    assert len(found["reservations ACTIVE in Postgres are the holds in Redis"]) == 2
    assert any(text.startswith("A:") for text in found["each ledger row begins where the SKU's row before it ended"])


async def test_a_ledger_that_does_not_catch_up_is_no_verdict(
    store: str, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "QUIET_WITHIN_S", 0.1)
    redis_client.hincrby("{h00}:meta", "seq", 1)
    with pytest.raises(NotQuiet, match="no worker is flushing"):
        take_pictures(redis_client, store)
