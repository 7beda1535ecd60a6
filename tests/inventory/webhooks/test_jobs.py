"""The jobs of webhooks as the job process runs them: found by the sweep, sent, written down, told to the alerts."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from engine import Configure
from inventory.alerts.evaluator import StockAlerts
from inventory.context import InventorySettings
from tests.inventory.webhooks.conftest import AT_ONCE, Shop
from tests.inventory.webhooks.receiver import Receiver
from tests.waiting import eventually
from worker.announcer import Announcer
from worker.follower import Follower
from worker.jobs.context import JobSettings


@pytest.fixture
def job_settings(job_settings: JobSettings) -> JobSettings:
    return structs.replace(job_settings, inventory=InventorySettings(webhooks=AT_ONCE))


async def test_a_lost_job_is_found_and_run(shop: Shop, receiver: Receiver, run_job: Callable[..., Any]) -> None:
    sku = await shop.sku("MUG")
    webhook, secret = await shop.webhook(receiver)
    await shop.adjust(sku)
    await shop.follow()
    found = await run_job("webhooks.sweep")
    assert (found.status, found.told) == ("ok", "1 webhooks with something due, 0 deliveries given up")
    sent = await run_job("webhooks.deliver", webhook_id=webhook)
    assert (sent.status, sent.told) == ("ok", "1 delivered, 0 failed")
    assert receiver.requests[0].verified_by(secret)["type"] == "stock.adjusted"
    again = await run_job("webhooks.deliver", webhook_id="wh_of_nobody")
    assert again.status == "ok"
    recorded = shop.rows("SELECT job, status FROM job_runs ORDER BY id")
    assert recorded == [("webhooks.sweep", "ok"), ("webhooks.deliver", "ok"), ("webhooks.deliver", "ok")]


RUN_ONE = """
import asyncio, sys
from inventory.context import InventorySettings
from inventory.rules import WebhookRules
from worker.jobs.context import JobSettings
from worker.jobs.registry import JOBS
from worker.jobs.running import run_job

redis_url, jobs_url, database_url, webhook_id = sys.argv[1:]
rules = InventorySettings(webhooks=WebhookRules(allow_private=True))
settings = JobSettings(redis_url=redis_url, jobs_url=jobs_url, database_url=database_url, inventory=rules)
asyncio.run(run_job(settings, JOBS, "webhooks.deliver", {"webhook_id": webhook_id}, "to be killed"))
"""


async def test_a_job_killed_while_it_sends(
    shop: Shop, receiver: Receiver, run_job: Callable[..., Any], job_settings: JobSettings
) -> None:
    sku = await shop.sku("MUG")
    webhook, _ = await shop.webhook(receiver)
    await shop.adjust(sku, times=2)
    await shop.follow()
    answer_now = threading.Event()
    receiver.before_answer = answer_now.wait
    urls = [job_settings.redis_url, job_settings.jobs_url, job_settings.database_url]
    root = Path(__file__).parents[3]
    doomed = await asyncio.create_subprocess_exec(sys.executable, "-c", RUN_ONE, *urls, webhook, cwd=root)
    try:
        await eventually(lambda: receiver.requests, timeout_s=60, what="the request")
    finally:
        doomed.kill()
        await doomed.wait()
    answer_now.set()
    # The dead still has the lease; once that ends, the sweep finds the webhook and both events are sent.
    assert (await run_job("webhooks.deliver", webhook_id=webhook)).told.startswith("nothing to do")
    assert (await run_job("webhooks.sweep")).told.startswith("0 webhooks")
    shop.rows("UPDATE webhooks SET leased_until = now()")
    assert (await run_job("webhooks.sweep")).told.startswith("1 webhooks")
    assert (await run_job("webhooks.deliver", webhook_id=webhook)).told == "2 delivered, 0 failed"
    assert receiver.ids[0] == receiver.ids[1]
    assert len(receiver.requests) == 3
    assert shop.statuses(webhook) == ["DELIVERED", "DELIVERED"]


async def test_an_alert_is_notified_once_its_event_was_taken(
    shop: Shop, receiver: Receiver, run_job: Callable[..., Any]
) -> None:
    """From the movement to the alert, into the journal, to the receiver, and back to the alert."""
    inventory = shop.inventory
    receiver.answers = [500]
    webhook, secret = await shop.webhook(receiver, "stock.low")
    evaluator = StockAlerts(inventory.engine.stock_levels, inventory.settings.alerts)
    alerting = Follower(inventory.database, inventory.watermark, evaluator)
    await shop.engine.execute(Configure("MUG", 0, 10, True, 12, "key_admin"))
    await shop.engine.reserve([("MUG", 5)], customer_id="ann")
    await shop.follow()
    while await alerting.step():
        pass
    await Announcer(shop.engine, inventory.database).look()
    await shop.follow()
    assert shop.rows("SELECT kind, status FROM alerts") == [("LOW_STOCK", "PENDING")]

    await run_job("webhooks.deliver", webhook_id=webhook)
    first, second = receiver.requests
    assert first.id == second.id
    event = second.verified_by(secret)
    assert (event["type"], event["data"]["sku"], event["data"]["available"]) == ("stock.low", "MUG", 7)
    assert shop.rows("SELECT status, notified_at IS NOT NULL FROM alerts") == [("NOTIFIED", True)]
