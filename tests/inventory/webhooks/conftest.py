"""A shop whose journal is flushed and followed by the webhook consumer, and a receiver for what it sends."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
from msgspec import structs

from engine import Adjust, Configure, Engine
from engine.identity import random_base
from inventory.context import Inventory, InventorySettings
from inventory.job_queue import JobQueue
from inventory.rules import WebhookRules
from inventory.webhooks.consumer import WebhookConsumer
from inventory.webhooks.delivery import deliver
from inventory.webhooks.subscriptions import create_webhook
from persistence.database import Database
from persistence.database_url import psycopg_url
from persistence.watermark import Watermark
from runtime.jobs_redis import next_database
from tests.inventory.webhooks.receiver import Receiver
from tests.waiting import eventually
from worker.flusher import Flusher, FlusherSettings
from worker.follower import Follower
from worker.jobs.registry import JOBS

QUICK = FlusherSettings(tick_ms=1, block_ms=20, stand_by_ms=30, report_every_ms=30)
AT_ONCE = WebhookRules(allow_private=True, retry_s=(0,) * 7)
"""Failed deliveries are due again at once, so that no test waits."""


class Asked(JobQueue):
    """The real queue, which also remembers what it was asked for: (job, delay, arguments)."""

    def __init__(self, url: str) -> None:
        super().__init__(url, JOBS.kinds)
        self.asked: list[tuple[str, float, dict[str, Any]]] = []

    async def enqueue(
        self, job: str, *, delay_s: float = 0, retry_after_s: tuple[int, ...] = (), **arguments: str | int
    ) -> bool:
        self.asked.append((job, delay_s, arguments))
        return await super().enqueue(job, delay_s=delay_s, retry_after_s=retry_after_s, **arguments)


class Shop:
    """Short ways to what most of these tests need."""

    def __init__(self, inventory: Inventory, jobs: Asked, database_url: str) -> None:
        self.inventory, self.jobs = inventory, jobs
        self.engine = inventory.engine
        self.consumer = WebhookConsumer(jobs)
        self.follower = Follower(inventory.database, inventory.watermark, self.consumer)
        self._database_url = database_url

    def rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(psycopg_url(self._database_url), autocommit=True) as connection:
            found = connection.execute(query, arguments)
            return found.fetchall() if found.description else []

    def with_rules(self, **changes: Any) -> Inventory:
        """The same inventory under other rules."""
        settings = self.inventory.settings
        rules = structs.replace(settings.webhooks, **changes)
        return structs.replace(self.inventory, settings=structs.replace(settings, webhooks=rules))

    async def webhook(self, receiver: Receiver, *events: str) -> tuple[str, str]:
        """A new webhook: its id and secret."""
        made, secret = await create_webhook(self.inventory, receiver.url(), events or ("*",), "key_admin")
        return made.id, secret

    async def sku(self, name: str, stock: int = 10) -> str:
        result = await self.engine.execute(Configure(name, 0, 0, True, stock, "key_admin"))
        assert result.status == "ok"
        return name

    async def adjust(self, sku: str, units: int = 1, times: int = 1) -> None:
        for _ in range(times):
            command = Adjust(
                random_base(),
                lines=((sku, "add", units),),
                transaction_type="IN",
                reason="delivery",
                reference_type="",
                reference_id="",
                actor="key_admin",
            )
            assert (await self.engine.execute(command)).status == "ok"

    async def follow(self) -> None:
        """Until the consumer has taken all that happened."""
        seq = (await self.engine.journal_state()).seq
        await eventually(lambda: self.rows("SELECT seq FROM journal_cursors")[0][0] >= seq, what="the ledger")
        while await self.follower.step():
            pass

    async def deliver(self, webhook_id: str, inventory: Inventory | None = None) -> str:
        """One run of the job; follow first."""
        await self.follow()
        return await deliver(inventory or self.inventory, self.jobs, webhook_id)

    def log(self, webhook_id: str) -> list[tuple[str, str, int, int | None, str | None]]:
        """(type, status, attempts, last_status, last_error) of each delivery, oldest first."""
        return self.rows(
            "SELECT type, status, attempts, last_status, last_error FROM webhook_deliveries"
            " WHERE webhook_id = %s ORDER BY id",
            webhook_id,
        )

    def statuses(self, webhook_id: str) -> list[str]:
        return [status for _, status, *_ in self.log(webhook_id)]

    def webhook_row(self, webhook_id: str, columns: str) -> tuple[Any, ...]:
        return self.rows(f"SELECT {columns} FROM webhooks WHERE id = %s", webhook_id)[0]


@pytest.fixture
async def shop(engine: Engine, redis_url: str, database_url: str) -> AsyncIterator[Shop]:
    flusher = Flusher(redis_url, database_url, QUICK)
    flushing = threading.Thread(target=flusher.run, daemon=True)
    flushing.start()
    database, watermark = Database(database_url), Watermark(database_url)
    await watermark.start()
    jobs = Asked(next_database(redis_url))
    yield Shop(Inventory(engine, database, watermark, InventorySettings(webhooks=AT_ONCE)), jobs, database_url)
    jobs.close()
    await watermark.close()
    await database.close()
    flusher.stop()
    flushing.join(60)
    assert not flushing.is_alive()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running
