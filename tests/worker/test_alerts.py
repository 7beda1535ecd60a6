"""Alerts as a shop has them: a reserve in the engine, a real worker, and what becomes of it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import redis
from msgspec import structs

from engine import Configure, Engine
from inventory.context import Inventory, InventorySettings
from inventory.rules import WebhookRules
from inventory.webhooks.delivery import DELIVER_JOB
from inventory.webhooks.subscriptions import create_webhook
from persistence.database import Database
from persistence.watermark import Watermark
from tests.inventory.alerts.mail_server import MailServer
from tests.inventory.webhooks.receiver import Receiver
from tests.waiting import eventually
from tests.worker.conftest import Rows
from worker.flusher import FlusherSettings
from worker.jobs import running
from worker.jobs.context import JobSettings
from worker.jobs.registry import JOBS
from worker.service import Worker, WorkerSettings

SETTINGS = InventorySettings(webhooks=WebhookRules(allow_private=True))
LOW, OUT = "LOW_STOCK", "OUT_OF_STOCK"
Start = Callable[[], Awaitable[Callable[[], Awaitable[None]]]]


@pytest.fixture
async def start(engine: Engine, redis_url: str, database_url: str) -> AsyncIterator[Start]:
    """`stop = await start()`, as often as wished; `await stop()`."""
    started: list[tuple[asyncio.Event, asyncio.Task[None]]] = []

    async def begin() -> Callable[[], Awaitable[None]]:
        flusher = FlusherSettings(tick_ms=2, block_ms=20, stand_by_ms=30, report_every_ms=50)
        stop = asyncio.Event()
        worker = Worker(WorkerSettings(redis_url, database_url, flusher=flusher, inventory=SETTINGS))
        task = asyncio.create_task(worker.run(stop))
        started.append((stop, task))

        async def end() -> None:
            stop.set()
            await task

        return end

    yield begin
    for stop, task in started:
        stop.set()
        await task


def alerts(rows: Rows) -> list[tuple[str, str, str]]:
    return rows("SELECT sku, kind, status FROM alerts ORDER BY id")  # type: ignore[return-value]


async def product(engine: Engine, sku: str, stock: int, threshold: int) -> None:
    assert (await engine.execute(Configure(sku, 0, threshold, True, stock, "tests"))).status == "ok"


async def told(rows: Rows, *expected: str) -> None:
    """What was announced has come into the journal and been met there."""
    query = "SELECT event_type FROM announcements WHERE announced_at IS NOT NULL ORDER BY id"
    await eventually(lambda: tuple(kind for (kind,) in rows(query)) == expected, what=str(expected))


async def test_a_reserve_raises_an_alert_and_its_end_resolves_it(engine: Engine, start: Start, rows: Rows) -> None:
    await start()
    await product(engine, "A", 12, 10)
    held = await engine.reserve([("A", 3)], customer_id="ann")
    await eventually(lambda: alerts(rows) == [("A", LOW, "PENDING")])
    rest = await engine.reserve([("A", 9)], customer_id="bob")
    await eventually(lambda: alerts(rows) == [("A", OUT, "PENDING")])
    await engine.release(held.id)
    await eventually(lambda: alerts(rows) == [("A", LOW, "PENDING")])
    await engine.release(rest.id)
    await eventually(lambda: alerts(rows) == [("A", LOW, "RESOLVED")])
    await told(rows, "stock.low", "stock.out", "stock.back", "stock.back")


async def test_two_workers_and_restarts_raise_it_once(engine: Engine, start: Start, rows: Rows) -> None:
    first, _ = await start(), await start()
    skus = [f"S{number}" for number in range(12)]
    for number, sku in enumerate(skus):
        await product(engine, sku, 20, 10)
        await engine.reserve([(sku, 15)], customer_id="ann")
        if number == 5:
            await first()
    await start()
    await eventually(lambda: len(alerts(rows)) == 12)
    await product(engine, "LAST", 1, 10)
    await eventually(lambda: len(alerts(rows)) == 13)
    await told(rows, *["stock.low"] * 13)
    assert sorted(alerts(rows)) == sorted((sku, LOW, "PENDING") for sku in [*skus, "LAST"])


async def test_what_happened_while_no_worker_ran(engine: Engine, start: Start, rows: Rows) -> None:
    end = await start()
    await product(engine, "A", 12, 10)
    await eventually(lambda: rows.seq() >= 1)
    await end()
    await engine.reserve([("A", 12)], customer_id="ann")
    await start()
    await eventually(lambda: alerts(rows) == [("A", OUT, "PENDING")])
    await told(rows, "stock.out")


async def test_told_by_webhook_and_by_mail(
    engine: Engine, start: Start, rows: Rows, database_url: str, job_settings: JobSettings
) -> None:
    async def run_job(name: str, **arguments: str) -> None:
        outcome = await running.run_job(settings, JOBS, name, arguments, uuid.uuid4().hex)
        assert outcome.status == "ok", outcome

    database, watermark = Database(database_url), Watermark(database_url)
    await watermark.start()
    async with MailServer() as server:
        settings = structs.replace(job_settings, inventory=structs.replace(SETTINGS, mail=server.settings()))
        with Receiver() as receiver:
            inventory = Inventory(engine, database, watermark, SETTINGS)
            hook, _ = await create_webhook(inventory, receiver.url(), ("stock.low", "stock.out"), "key_admin")
            await start()
            await product(engine, "A", 12, 10)
            await engine.reserve([("A", 3)], customer_id="ann")
            await eventually(lambda: rows("SELECT id FROM webhook_deliveries WHERE type = 'stock.low'"))
            assert alerts(rows) == [("A", LOW, "PENDING")]
            await run_job(DELIVER_JOB, webhook_id=hook.id)
            assert alerts(rows) == [("A", LOW, "NOTIFIED")]
            (request,) = receiver.requests
            assert request.event["type"] == "stock.low"
            assert request.event["data"]["available"] == 9
            await run_job("alerts.mail")
            assert [mail["Subject"] for mail in server.mails] == ["Holdfast: 1 running low"]
            # The receiver is away: nobody has been told that it is out now, until the mail is.
            receiver.otherwise = 500
            await engine.reserve([("A", 9)], customer_id="ann")
            await eventually(lambda: rows("SELECT id FROM webhook_deliveries WHERE type = 'stock.out'"))
            await run_job(DELIVER_JOB, webhook_id=hook.id)
            assert alerts(rows) == [("A", OUT, "PENDING")]
            await run_job("alerts.mail")
            assert alerts(rows) == [("A", OUT, "NOTIFIED")]
    await watermark.close()
    await database.close()


async def test_a_worker_that_starts_asks_for_a_check(engine: Engine, job_settings: JobSettings) -> None:
    """Stock from before there were alerts, or behind a rebuild, is told by no event."""
    settings = WorkerSettings(job_settings.redis_url, job_settings.database_url, jobs_url=job_settings.jobs_url)
    stop = asyncio.Event()
    running_worker = asyncio.create_task(Worker(settings).run(stop))
    with redis.Redis.from_url(job_settings.jobs_url) as client:
        await eventually(lambda: client.llen("rq:queue:long") == 1)
        (job,) = client.lrange("rq:queue:long", 0, -1)
        assert client.hget(b"rq:job:" + job, "description") == b"alerts.check"
    stop.set()
    await running_worker


async def test_the_jobs_by_name(engine: Engine, job_settings: JobSettings, rows: Rows) -> None:
    await product(engine, "A", 1, 10)
    for name, said in (
        ("alerts.check", "1 SKUs, 1 low, out or with an alert; 1 alerts changed"),
        ("alerts.mail", "no mail server is set"),
    ):
        outcome = await running.run_job(job_settings, JOBS, name, {}, uuid.uuid4().hex)
        assert outcome.told == said
    assert (await running.run_job(job_settings, JOBS, "alerts.digest", {}, uuid.uuid4().hex)).status == "ok"
    assert alerts(rows) == [("A", LOW, "PENDING")]
