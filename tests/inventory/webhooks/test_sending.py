"""Who sends: jobs that meet, come late, are killed, are asked for again, and a backlog that has an end."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from inventory.webhooks import consumer, subscriptions
from inventory.webhooks.delivery import DELIVER_JOB, deliver
from inventory.webhooks.sweep import sweep_webhooks
from persistence.queries.webhook_deliveries import AttemptOutcome, record_outcomes
from persistence.queries.webhooks import claim_webhook
from tests.inventory.webhooks.conftest import Shop
from tests.inventory.webhooks.receiver import Receiver

LONG_AGO = "now() - interval '80 hours'"


async def test_two_jobs_at_once_send_nothing_twice(shop: Shop, receiver: Receiver) -> None:
    sku = await shop.sku("MUG")
    webhook, _ = await shop.webhook(receiver)
    await shop.adjust(sku, times=60)
    await shop.follow()
    told = await asyncio.gather(*(deliver(shop.inventory, shop.jobs, webhook) for _ in range(6)))
    assert sorted(told)[0] == "60 delivered, 0 failed"
    assert len(receiver.requests) == len(set(receiver.ids)) == 60


async def test_a_job_that_comes_late_takes_no_delivery_back(shop: Shop, receiver: Receiver) -> None:
    sku = await shop.sku("MUG")
    webhook, _ = await shop.webhook(receiver)
    await shop.adjust(sku)
    await shop.deliver(webhook)
    ((number,),) = shop.rows("SELECT id FROM webhook_deliveries")
    async with shop.inventory.database.transaction() as transaction:
        await record_outcomes(transaction, [AttemptOutcome(number, "PENDING", 5, 500, "HTTP 500")])
    assert shop.log(webhook) == [("stock.adjusted", "DELIVERED", 1, 204, None)]
    # The other way round the better news is the true one.
    await subscriptions.delete_webhook(shop.inventory, webhook)
    shop.rows("UPDATE webhook_deliveries SET status = 'DISCARDED', delivered_at = NULL")
    async with shop.inventory.database.transaction() as transaction:
        await record_outcomes(transaction, [AttemptOutcome(number, "DELIVERED", 0, 204, None)])
    assert shop.statuses(webhook) == ["DELIVERED"]


async def test_what_comes_while_a_job_sends_is_asked_for_again(shop: Shop, receiver: Receiver) -> None:
    """The job for the second event finds the webhook taken; the one that has it must see to the event."""
    sku = await shop.sku("MUG")
    webhook, _ = await shop.webhook(receiver)
    await shop.adjust(sku)
    await shop.follow()
    lease = await claim_webhook(shop.inventory.database, webhook, "another", 60)
    assert lease is not None
    assert (await deliver(shop.inventory, shop.jobs, webhook)).startswith("nothing to do")
    shop.rows("UPDATE webhooks SET lease = NULL, leased_until = NULL")

    async def slips_in(*_: object) -> None:
        receiver.otherwise = 500
        await shop.adjust(sku)
        await shop.follow()
        shop.rows("UPDATE webhook_deliveries SET next_attempt_at = now() + interval '300 ms' WHERE attempts = 0")

    shop.jobs.asked.clear()
    await deliver(shop.inventory, shop.jobs, webhook, on_delivered=slips_in)
    assert shop.jobs.asked[-1][0] == DELIVER_JOB
    assert shop.statuses(webhook) == ["DELIVERED", "PENDING"]


async def test_a_killed_job_is_swept_and_its_messages_come_again(shop: Shop, receiver: Receiver) -> None:
    sku = await shop.sku("MUG")
    webhook, _ = await shop.webhook(receiver)
    await shop.adjust(sku, times=2)
    await shop.follow()

    async def killed(*_: object) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await deliver(shop.inventory, shop.jobs, webhook, on_delivered=killed)
    # Sent, not written down, and this time nobody even lets the lease go.
    assert len(receiver.requests) == 1
    assert shop.statuses(webhook) == ["PENDING", "PENDING"]
    shop.rows("UPDATE webhooks SET lease = 'of the dead', leased_until = now() + interval '1 minute'")
    shop.jobs.asked.clear()
    await sweep_webhooks(shop.inventory, shop.jobs)
    assert shop.jobs.asked == []
    shop.rows("UPDATE webhooks SET leased_until = now()")
    assert await sweep_webhooks(shop.inventory, shop.jobs) == "1 webhooks with something due, 0 deliveries given up"
    assert shop.jobs.asked == [(DELIVER_JOB, 0, {"webhook_id": webhook})]
    await shop.deliver(webhook)
    assert receiver.ids[0] == receiver.ids[1]
    assert len(set(receiver.ids)) == 2


async def test_a_backlog_has_an_end(shop: Shop, receiver: Receiver) -> None:
    sku = await shop.sku("MUG")
    webhook, _ = await shop.webhook(receiver)
    await shop.adjust(sku, times=12)
    await shop.follow()
    # A webhook that is paused is the one that a backlog grows behind.
    shop.rows("UPDATE webhooks SET resume_at = now() + interval '1 minute'")
    with capture_logs() as lines:
        told = await sweep_webhooks(shop.with_rules(max_pending=5), shop.jobs)
    assert told == "0 webhooks with something due, 7 deliveries given up"
    assert shop.statuses(webhook) == ["DISCARDED"] * 7 + ["PENDING"] * 5
    assert any(line["log_level"] == "warning" for line in lines)


async def test_no_webhooks_no_work(shop: Shop) -> None:
    await shop.adjust(await shop.sku("MUG"), times=3)
    await shop.follow()
    assert shop.jobs.asked == []
    assert shop.rows("SELECT count(*) FROM webhook_deliveries") == [(0,)]


async def test_many_batches_ask_for_few_jobs(shop: Shop, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "BETWEEN_JOBS_S", 600.0)
    sku = await shop.sku("MUG")
    webhook, _ = await shop.webhook(receiver)
    for _ in range(10):
        await shop.adjust(sku)
        await shop.follow()
    # One at once, and one behind the pause for all that comes within it.
    first, second = shop.jobs.asked
    assert first == (DELIVER_JOB, 0, {"webhook_id": webhook})
    assert second[0] == DELIVER_JOB
    assert 0 < second[1] <= 600
