"""Old records go, in chunks, and nothing else does."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from inventory import retention
from inventory.context import Inventory
from inventory.retention import forget_old_records

NOW = datetime.now(UTC)
Sql = Callable[..., list[tuple[object, ...]]]
SEED = random.randrange(2**32)


def reserve(sql: Sql, name: str, made: timedelta, ended: timedelta | None, skus: tuple[str, ...] = ("A", "B")) -> None:
    """A reservation made and ended that long ago, as the flusher leaves it."""
    status = "ACTIVE" if ended is None else "COMPLETED"
    lines = "[" + ", ".join(f'{{"sku": "{sku}", "quantity": 1}}' for sku in skus) + "]"
    sql(
        "INSERT INTO stock_reservations (id, seq, created_at, updated_at, expires_at, ended_at, partition, epoch,"
        " status, owner, customer_id, fingerprint, lines) VALUES (%s, 1, %s, %s, %s, %s, 0, 1, %s, 'o', 'c', 'f', %s)",
        name, NOW - made, NOW, NOW, None if ended is None else NOW - ended, status, lines,
    )  # fmt: skip
    for sku in skus:
        sql("INSERT INTO reservation_skus (sku, created_at, reservation_id) VALUES (%s, %s, %s)", sku, NOW - made, name)


def names(sql: Sql) -> set[object]:
    return {row[0] for row in sql("SELECT id FROM stock_reservations")}


async def test_only_what_ended_long_ago_goes(inventory: Inventory, sql: Sql) -> None:
    day, year = timedelta(days=1), timedelta(days=400)
    reserve(sql, "old", year + 2 * day, year + day)
    reserve(sql, "old and just too young", year + 2 * day, year - timedelta(hours=6))
    reserve(sql, "held for ever", 2 * year, None)
    reserve(sql, "young", day, day)
    ledger = (
        "INSERT INTO inventory_transactions (seq, quantity, previous_stock, new_stock, created_at, partition, epoch,"
        " line, sku, transaction_type, reference_type, reference_id, reservation_id, created_by, reason)"
        " VALUES (1, 1, 0, 1, %s, 0, 1, 0, 'A', 'IN', '', '', 'old', 'x', 'why')"
    )
    sql(ledger, NOW - 3 * year)
    sql(
        "INSERT INTO announcements (base, event_type, data, created_at, announced_at) VALUES"
        " (repeat('0', 24), 'stock.low', '{}', %s, %s), (repeat('1', 24), 'stock.low', '{}', %s, NULL),"
        " (repeat('2', 24), 'stock.low', '{}', %s, %s)",
        NOW - 9 * day, NOW - 9 * day, NOW - 9 * day, NOW - day, NOW - day,
    )  # fmt: skip

    gone = await forget_old_records(inventory)
    assert (gone.reservations, gone.announcements) == (1, 1)
    assert names(sql) == {"old and just too young", "held for ever", "young"}
    assert sql("SELECT DISTINCT reservation_id FROM reservation_skus ORDER BY 1") == [
        ("held for ever",), ("old and just too young",), ("young",),
    ]  # fmt: skip
    assert sql("SELECT count(*) FROM inventory_transactions") == [(1,)]
    # What was never announced still has to be.
    assert {str(row[0])[0] for row in sql("SELECT base FROM announcements")} == {"1", "2"}
    again = await forget_old_records(inventory)
    assert (again.reservations, again.announcements, again.events, again.job_runs) == (0, 0, 0, 0)


async def test_chunk_by_chunk_whatever_stands_between(
    inventory: Inventory, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of the same moment, and rows that stay, must neither end the walk nor be skipped by it."""
    monkeypatch.setattr(retention, "CHUNK", 7)
    chance = random.Random(SEED)
    print(f"seed {SEED}")
    year = timedelta(days=401)
    kept = set()
    for number in range(100):
        made = year + timedelta(days=chance.choice([1, 2, 3]))
        stays = chance.random() < 0.4
        if stays:
            kept.add(f"r{number:03}")
        reserve(sql, f"r{number:03}", made, None if stays else year, ("A",))
    results = await asyncio.gather(forget_old_records(inventory), forget_old_records(inventory))
    assert sum(result.reservations for result in results) == 100 - len(kept)
    assert names(sql) == kept
    assert {row[0] for row in sql("SELECT reservation_id FROM reservation_skus")} == kept


async def test_the_latest_runs_of_each_job_stay(
    inventory: Inventory, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "CHUNK", 50)
    for job, count in (("busy", 320), ("calm", 3)):
        sql(
            "INSERT INTO job_runs (job, run_id, arguments, started_at, deadline_at, status)"
            " SELECT %s, 'r' || n, '', now(), now(), 'ok' FROM generate_series(1, %s) AS n",
            job, count,
        )  # fmt: skip
    gone = await forget_old_records(inventory)
    assert gone.job_runs == 120
    assert sql("SELECT job, count(*), min(run_id::text) FROM job_runs GROUP BY job ORDER BY job") == [
        ("busy", 200, "r121"), ("calm", 3, "r1"),
    ]  # fmt: skip
