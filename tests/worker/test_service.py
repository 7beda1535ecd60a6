"""The whole worker with the real engine: what the engine did arrives in Postgres, and SIGTERM loses nothing."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine import Adjust, Configure, Engine, Expire
from engine.identity import random_base
from persistence.database import Database
from persistence.queries import ledger_state
from persistence.watermark import Watermark
from tests.worker.conftest import Rows
from worker.flusher import FlusherSettings
from worker.service import Worker, WorkerSettings
from worker.sweeper import SweeperSettings


@pytest.fixture
async def worker(engine: Engine, redis_url: str, database_url: str) -> AsyncIterator[Worker]:
    settings = WorkerSettings(
        redis_url,
        database_url,
        flusher=FlusherSettings(tick_ms=2, block_ms=20, report_every_ms=50),
        sweeper=SweeperSettings(interval_ms=50),
        metrics_port=0,
    )
    stop = asyncio.Event()
    started = Worker(settings)
    running = asyncio.create_task(started.run(stop))
    yield started
    stop.set()
    await running


async def levels_agree(engine: Engine, rows: Rows) -> None:
    live = {level.sku: (level.on_hand, level.reserved) for level in await engine.stock_levels()}
    stored = {sku: (a, b) for sku, a, b in rows("SELECT sku, on_hand, reserved FROM inventory_levels")}
    assert stored == live
    sums = dict(rows("SELECT sku, sum(quantity)::bigint FROM inventory_transactions GROUP BY sku"))
    assert {sku: sums.get(sku, 0) for sku in live} == {sku: on_hand for sku, (on_hand, _) in live.items()}


async def test_a_shop_runs_through_to_the_ledger(engine: Engine, worker: Worker, database_url: str, rows: Rows) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    watermark = Watermark(database_url)
    await watermark.start()
    skus = [f"S{n}" for n in range(8)]
    for sku in skus:
        await engine.execute(Configure(sku, 1, 5, True, 500, "admin"))
    holds = [
        await engine.reserve(
            [(sku, chance.randint(1, 3)) for sku in chance.sample(skus, 2)], customer_id=f"c{n}", caller="storefront"
        )
        for n in range(300)
    ]
    statuses: dict[str, str] = {}
    for held in holds:
        verb = chance.choice(["confirm", "release", "amend", "leave"])
        if verb == "confirm":
            await engine.confirm(held.id, order_id=f"o-{held.id[:6]}", caller="storefront")
        elif verb == "release":
            await engine.release(held.id, caller="storefront")
        elif verb == "amend":
            await engine.amend(held.id, [(chance.choice(skus), 2)], caller="storefront")
        statuses[held.id] = {"confirm": "COMPLETED", "release": "CANCELLED"}.get(verb, "ACTIVE")
    lines = (("S0", "add", 40), ("S1", "remove", 3), ("S2", "set", 600))
    result = await engine.execute(Adjust(random_base(), lines, "ADJUSTMENT", "stock take", "Count", "c-1", "admin"))
    assert result.status == "ok"
    assert await watermark.reached(0, 1, result.seq, 60)
    assert dict(rows("SELECT id, status FROM stock_reservations")) == statuses
    await levels_agree(engine, rows)
    for held in holds[:40]:
        live = await engine.reservation(held.id)
        ((stored,),) = rows("SELECT lines FROM stock_reservations WHERE id = %s", held.id)
        assert tuple((line["sku"], line["quantity"]) for line in stored) == live.lines
    counted = rows(
        "SELECT line, sku, quantity, reason, reference_type, created_by FROM inventory_transactions"
        " WHERE seq = %s ORDER BY line",
        result.first_seq,
    )
    assert [row[:2] for row in counted] == [(0, "S0"), (1, "S1"), (2, "S2")]
    assert counted[0][2:] == (40, "stock take", "Count", "admin")
    assert rows("SELECT count(*) FROM journal_quarantine") == [(0,)]
    await watermark.close()


async def test_an_abandoned_hold_expires_in_postgres_too(
    engine: Engine, worker: Worker, rows: Rows, eventually: Callable[..., Any]
) -> None:
    await engine.execute(Configure("A", 0, 0, True, 5, "admin"))
    held = await engine.reserve([("A", 2)], customer_id="c", ttl_ms=1_000)
    await eventually(lambda: rows("SELECT status FROM stock_reservations WHERE id = %s", held.id) == [("EXPIRED",)])
    assert rows("SELECT reserved FROM inventory_levels") == [(0,)]
    ended, deadline = rows("SELECT ended_at, expires_at FROM stock_reservations")[0]
    assert ended >= deadline


async def test_a_hold_whose_record_has_aged_out_still_ends(
    engine: Engine, worker: Worker, rows: Rows, redis_client: Any, eventually: Callable[..., Any]
) -> None:
    await engine.execute(Configure("A", 0, 0, True, 5, "admin"))
    held = await engine.reserve([("A", 2)], customer_id="c", ttl_ms=1_000)
    redis_client.delete(f"{{h00}}:r:{held.id[:24]}")
    await eventually(lambda: rows("SELECT status FROM stock_reservations") == [("EXPIRED",)])
    assert rows("SELECT reserved FROM inventory_levels") == [(0,)]
    command = Expire(held.id[:24], f"{held.id} A=2")
    assert (await engine.execute(command)).status == "unknown_reservation"


async def test_readiness_and_metrics(
    engine: Engine, worker: Worker, database_url: str, eventually: Callable[..., Any]
) -> None:
    database = Database(database_url)

    async def alive() -> bool:
        report = await ledger_state.flusher(database)
        return report is not None and report.alive

    await eventually(alive)
    await engine.execute(Configure("A", 0, 0, True, 5, "admin"))
    await eventually(lambda: worker.flusher_status.events == 2)
    async with httpx.AsyncClient() as client:
        page = (await client.get(f"http://127.0.0.1:{worker.metrics_port}/metrics")).text
    assert "holdfast_flushed_events_total 2.0" in page
    assert "holdfast_ledger_rows_total 1.0" in page
    assert "holdfast_flusher_up 1.0" in page
    assert "holdfast_journal_lag_events 0.0" in page
    assert "holdfast_sweeper_paused 0.0" in page
    await database.close()


SERVICE = """
import asyncio, signal, sys
from worker.service import Worker, WorkerSettings

async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print("up", flush=True)
    await Worker(WorkerSettings(sys.argv[1], sys.argv[2])).run(stop)

asyncio.run(main())
"""


async def test_sigterm_flushes_the_last_batch(engine: Engine, redis_url: str, database_url: str, rows: Rows) -> None:
    process = subprocess.Popen(  # noqa: ASYNC220 - as the next test would wait for it anyway
        [sys.executable, "-c", SERVICE, redis_url, database_url],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    await asyncio.to_thread(process.stdout.readline)
    await engine.execute(Configure("A", 0, 0, True, 100_000, "admin"))
    for _ in range(20):
        held = await asyncio.gather(*(engine.reserve([("A", 1)], customer_id="c") for _ in range(100)))
        await asyncio.gather(*(engine.confirm(one.id) for one in held))
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, 20) == 0
    process.stdout.close()
    assert rows.seq() == (await engine.journal_state()).seq
    await levels_agree(engine, rows)


async def test_a_bug_in_the_flusher_ends_the_worker(
    engine: Engine, redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("worker.flusher.Flusher.run", broken)
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(Worker(WorkerSettings(redis_url, database_url)).run(asyncio.Event()), 60)
