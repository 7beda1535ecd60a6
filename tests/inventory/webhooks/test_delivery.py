"""Deliveries: each event once, signed, tried again, given up, paused, disabled, and sent again after a kill."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError
from structlog.testing import capture_logs

from engine.errors import NotReady
from inventory.refusals import InvalidRequest, UnknownDelivery, UnknownWebhook, WebhookDisabled, WebhookLimit
from inventory.rules import WebhookRules
from inventory.webhooks import delivery, subscriptions
from inventory.webhooks.consumer import WebhookConsumer
from inventory.webhooks.delivery import DELIVER_JOB, deliver, outcome_of, pause_after
from inventory.webhooks.sender import Attempt
from inventory.webhooks.signing import SigningSecrets, new_secret, signature_headers
from inventory.webhooks.sweep import forget_old_deliveries, sweep_webhooks
from persistence.database import Database, DatabaseUnavailable
from persistence.queries import webhook_deliveries
from persistence.queries.webhook_deliveries import DueDelivery
from persistence.queries.webhooks import claim_webhook
from tests.inventory.webhooks.conftest import Shop
from tests.inventory.webhooks.receiver import Received, Receiver
from worker.follower import Follower

LONG_AGO = "now() - interval '80 hours'"


async def test_every_event_is_delivered_once_and_signed(shop: Shop, receiver: Receiver) -> None:
    sku = await shop.sku("MUG")
    webhook, secret = await shop.webhook(receiver, "*")
    hold = await shop.engine.reserve([(sku, 2)], customer_id="ann")
    await shop.engine.confirm(hold.id, order_id="o-1")
    await shop.adjust(sku)
    assert await shop.deliver(webhook) == "3 delivered, 0 failed"
    assert receiver.types == ["reservation.created", "reservation.confirmed", "stock.adjusted"]
    assert len(set(receiver.ids)) == 3
    for got in receiver.requests:
        event = got.verified_by(secret)
        assert event["id"] == got.id == f"0-1-{event['seq']}"
        assert set(event) == {"type", "timestamp", "data", "id", "partition", "epoch", "seq"}
        assert event["data"]["lines"][0]["sku"] == sku
    # Whatever comes again, nothing goes out again.
    await shop.follow()
    assert await shop.deliver(webhook) == "0 delivered, 0 failed"
    assert len(receiver.requests) == 3


async def test_only_what_was_asked_for_from_then_on(shop: Shop, receiver: Receiver) -> None:
    sku = await shop.sku("MUG")
    await shop.adjust(sku)
    stock, _ = await shop.webhook(receiver, "stock.*")
    sales, _ = await shop.webhook(receiver, "reservation.confirmed", "reservation.released")
    hold = await shop.engine.reserve([(sku, 1)], customer_id="ann")
    await shop.engine.release(hold.id)
    await shop.adjust(sku)
    await shop.deliver(stock)
    assert receiver.types == ["stock.adjusted"]
    await shop.deliver(sales)
    assert receiver.types == ["stock.adjusted", "reservation.released"]


async def test_a_journal_that_is_followed_twice_makes_no_second_delivery(shop: Shop, receiver: Receiver) -> None:
    sku = await shop.sku("MUG")
    webhook, _ = await shop.webhook(receiver)
    await shop.adjust(sku, times=5)
    await shop.deliver(webhook)
    shop.rows("DELETE FROM follower_cursors")
    again = Follower(shop.inventory.database, shop.inventory.watermark, WebhookConsumer(shop.jobs))
    assert await again.step() > 0
    assert await shop.deliver(webhook) == "0 delivered, 0 failed"
    assert len(receiver.requests) == 5


async def test_a_failure_is_tried_again_with_the_same_id(shop: Shop, receiver: Receiver) -> None:
    receiver.answers = [500]
    sku = await shop.sku("MUG")
    webhook, secret = await shop.webhook(receiver)
    await shop.adjust(sku)
    await shop.deliver(webhook, shop.with_rules(retry_s=(30, 60)))
    ((kind, status, attempts, last_status, last_error),) = shop.log(webhook)
    assert (kind, status, attempts, last_status, last_error) == ("stock.adjusted", "PENDING", 1, 500, "HTTP 500")
    ((wait_s,),) = shop.rows("SELECT extract(epoch FROM next_attempt_at - last_attempt_at) FROM webhook_deliveries")
    assert 30 <= wait_s <= 33
    # The next attempt was asked for when it is due, and is not made before.
    job, delay_s, arguments = shop.jobs.asked[-1]
    assert (job, arguments) == (DELIVER_JOB, {"webhook_id": webhook})
    assert 0 < delay_s <= 33
    assert await shop.deliver(webhook) == "0 delivered, 0 failed"
    shop.rows("UPDATE webhook_deliveries SET next_attempt_at = now()")
    assert await shop.deliver(webhook) == "1 delivered, 0 failed"
    first, second = receiver.requests
    assert (first.id, first.body) == (second.id, second.body)
    assert second.verified_by(secret)
    assert shop.log(webhook) == [("stock.adjusted", "DELIVERED", 2, 204, None)]
    assert shop.webhook_row(webhook, "failures, failing_since, resume_at") == (0, None, None)


@pytest.mark.parametrize(
    ("attempts", "attempt", "status", "least_s"),
    [
        (0, Attempt(204), "DELIVERED", 0),
        (0, Attempt(500, "HTTP 500"), "PENDING", 5),
        (1, Attempt(None, "no answer in time"), "PENDING", 30),
        (6, Attempt(302, "HTTP 302"), "PENDING", 86_400),
        (7, Attempt(500, "HTTP 500"), "FAILED", 0),
        (7, Attempt(200), "DELIVERED", 0),
        (0, Attempt(410, "HTTP 410"), "FAILED", 0),
        (0, Attempt(429, "HTTP 429", 600), "PENDING", 600),
        (3, Attempt(429, "HTTP 429", 10), "PENDING", 600),
    ],
)
def test_what_becomes_of_a_delivery(attempts: int, attempt: Attempt, status: str, least_s: float) -> None:
    outcome = outcome_of(WebhookRules(), DueDelivery(1, "0-1-1", "stock.low", "{}", attempts), attempt)
    assert outcome.status == status
    assert least_s <= outcome.next_s <= least_s * 1.1
    assert outcome.http_status == attempt.status


def test_pauses_grow_and_end() -> None:
    assert [pause_after(failures) for failures in (1, 2, 3, 4, 5, 10, 11, 1000)] == [0, 0, 5, 10, 20, 640, 900, 900]


async def test_the_last_attempt_fails_for_good_and_a_person_may_begin_anew(shop: Shop, receiver: Receiver) -> None:
    receiver.answers = [500, 500]
    sku = await shop.sku("MUG")
    webhook, _ = await shop.webhook(receiver)
    await shop.adjust(sku)
    await shop.deliver(webhook, shop.with_rules(retry_s=(0,)))
    assert shop.log(webhook) == [("stock.adjusted", "FAILED", 2, 500, "HTTP 500")]
    assert await shop.deliver(webhook) == "0 delivered, 0 failed"
    (failed,) = (await subscriptions.list_deliveries(shop.inventory, webhook, "FAILED")).items
    begun = await subscriptions.send_again(shop.inventory, shop.jobs, webhook, failed.id)
    assert (begun.status, begun.attempts) == ("PENDING", 0)
    assert shop.jobs.asked[-1] == (DELIVER_JOB, 0, {"webhook_id": webhook})
    await shop.deliver(webhook)
    assert len(set(receiver.ids)) == 1
    assert shop.statuses(webhook) == ["DELIVERED"]
    # A delivered one may be sent again as well.
    await subscriptions.send_again(shop.inventory, shop.jobs, webhook, failed.id)
    await shop.deliver(webhook)
    assert len(receiver.requests) == 4
    with pytest.raises(UnknownDelivery):
        await subscriptions.send_again(shop.inventory, shop.jobs, webhook, failed.id + 1)


async def test_410_disables_at_once_and_enabling_sends_what_waited(shop: Shop, receiver: Receiver) -> None:
    receiver.answers = [410]
    sku = await shop.sku("MUG")
    webhook, _ = await shop.webhook(receiver)
    await shop.adjust(sku, times=3)
    with capture_logs() as lines:
        await shop.deliver(webhook)
    assert len(receiver.requests) == 1
    assert shop.statuses(webhook) == ["FAILED", "PENDING", "PENDING"]
    status, reason, disabled_at = shop.webhook_row(webhook, "status, reason, disabled_at")
    assert (status, reason) == ("disabled", "the receiver answered 410 Gone")
    assert disabled_at is not None
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == ["webhook disabled"]
    # Nothing goes to it, and what happens meanwhile is not for it.
    await shop.adjust(sku)
    assert (await shop.deliver(webhook)).startswith("nothing to do")
    with pytest.raises(WebhookDisabled):
        await subscriptions.send_test(shop.inventory, shop.jobs, webhook)
    enabled = await subscriptions.enable_webhook(shop.inventory, shop.jobs, webhook)
    assert (enabled.status, enabled.reason, enabled.disabled_at) == ("active", "", None)
    await shop.adjust(sku)
    await shop.deliver(webhook)
    assert shop.statuses(webhook) == ["FAILED", "DELIVERED", "DELIVERED", "DELIVERED"]
    assert len(receiver.requests) == 4


async def test_failures_in_a_row_pause_the_webhook_not_each_message(
    shop: Shop, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "FIRST_PAUSE_S", 200)
    receiver.otherwise = 503
    sku = await shop.sku("MUG")
    webhook, _ = await shop.webhook(receiver)
    await shop.adjust(sku, times=40)
    await shop.deliver(webhook)
    # One at a time while it fails: three attempts, and the rest has lost none of its own.
    assert len(receiver.requests) == 3
    assert sum(attempts for _, _, attempts, *_ in shop.log(webhook)) == 3
    failures, paused = shop.webhook_row(webhook, "failures, resume_at > now()")
    assert (failures, paused) == (3, True)
    assert (await shop.deliver(webhook)).startswith("nothing to do")
    assert await sweep_webhooks(shop.inventory, shop.jobs) == "0 webhooks with something due, 0 deliveries given up"
    # Nor does each new event ask for a job that could do nothing.
    shop.jobs.asked.clear()
    await shop.adjust(sku)
    await shop.follow()
    assert shop.jobs.asked == []
    # After the pause one attempt finds out, and the next pause is longer.
    shop.rows("UPDATE webhooks SET resume_at = now()")
    await shop.deliver(webhook)
    assert len(receiver.requests) == 4
    pauses = "SELECT extract(epoch FROM w.resume_at - max(d.last_attempt_at)) FROM webhooks w, webhook_deliveries d"
    assert shop.rows(f"{pauses} GROUP BY w.resume_at") == [(400,)]
    # Enabling ends the pause.
    receiver.otherwise = 200
    await subscriptions.enable_webhook(shop.inventory, shop.jobs, webhook)
    assert await shop.deliver(webhook) == "41 delivered, 0 failed"


async def test_an_admin_may_disable_one(shop: Shop, receiver: Receiver) -> None:
    sku = await shop.sku("MUG")
    webhook, _ = await shop.webhook(receiver)
    await shop.adjust(sku)
    await shop.follow()
    for _ in range(2):
        disabled = await subscriptions.disable_webhook(shop.inventory, webhook, "key_admin")
        assert (disabled.status, disabled.reason) == ("disabled", "disabled by key_admin")
    await shop.adjust(sku)
    assert (await shop.deliver(webhook)).startswith("nothing to do")
    await subscriptions.enable_webhook(shop.inventory, shop.jobs, webhook)
    assert await shop.deliver(webhook) == "1 delivered, 0 failed"
    with pytest.raises(UnknownWebhook):
        await subscriptions.disable_webhook(shop.inventory, "wh_never", "key_admin")


async def test_failing_for_too_long_disables(shop: Shop, receiver: Receiver) -> None:
    receiver.otherwise = 500
    sku = await shop.sku("MUG")
    webhook, _ = await shop.webhook(receiver)
    await shop.adjust(sku)
    await shop.deliver(webhook)
    shop.rows(f"UPDATE webhooks SET failing_since = {LONG_AGO}, resume_at = NULL")
    await shop.deliver(webhook)
    # Long ago alone is not enough: three days without an event are no failure.
    assert shop.webhook_row(webhook, "status, failures") == ("active", 4)
    shop.rows("UPDATE webhooks SET resume_at = NULL, failures = 9")
    await shop.deliver(webhook)
    status, reason = shop.webhook_row(webhook, "status, reason")
    assert (status, reason) == ("disabled", "nothing was delivered for 80 h, 10 attempts")


async def test_both_secrets_sign_during_a_rotation(shop: Shop, receiver: Receiver) -> None:
    sku = await shop.sku("MUG")
    webhook, old = await shop.webhook(receiver)
    rotated, new = await subscriptions.rotate_secret(shop.inventory, webhook)
    assert old != new
    assert rotated.previous_secret_until is not None
    await shop.adjust(sku)
    await shop.deliver(webhook)
    assert receiver.requests[0].verified_by(old) == receiver.requests[0].verified_by(new)
    with pytest.raises(WebhookVerificationError):
        receiver.requests[0].verified_by(new_secret())
    shop.rows("UPDATE webhooks SET previous_secret_until = now()")
    await shop.adjust(sku)
    await shop.deliver(webhook)
    assert receiver.requests[1].verified_by(new)
    with pytest.raises(WebhookVerificationError):
        receiver.requests[1].verified_by(old)
    # Rotated twice: the first secret is good no more.
    _, newest = await subscriptions.rotate_secret(shop.inventory, webhook)
    await shop.adjust(sku)
    await shop.deliver(webhook)
    assert receiver.requests[2].verified_by(new) == receiver.requests[2].verified_by(newest)
    with pytest.raises(WebhookVerificationError):
        receiver.requests[2].verified_by(old)


async def test_a_replayed_or_altered_message_is_detectable(shop: Shop, receiver: Receiver) -> None:
    webhook, secret = await shop.webhook(receiver)
    await subscriptions.send_test(shop.inventory, shop.jobs, webhook)
    await shop.deliver(webhook)
    (got,) = receiver.requests
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    captured = signature_headers(SigningSecrets(secret), got.id, an_hour_ago, got.body.decode())
    with pytest.raises(WebhookVerificationError, match="too old"):
        Webhook(secret).verify(got.body, captured)
    fresh = {**captured, "webhook-timestamp": got.headers["webhook-timestamp"]}
    with pytest.raises(WebhookVerificationError, match="No matching"):
        Webhook(secret).verify(got.body, fresh)
    for changed in (
        got._replace(body=got.body.replace(b"webhook.test", b"webhook.tset")),
        got._replace(headers={**got.headers, "webhook-id": "test-other"}),
    ):
        with pytest.raises(WebhookVerificationError):
            Received.verified_by(changed, secret)


async def test_a_test_event_goes_to_whoever_is_tested(shop: Shop, receiver: Receiver) -> None:
    webhook, secret = await shop.webhook(receiver, "stock.low")
    queued = await subscriptions.send_test(shop.inventory, shop.jobs, webhook)
    assert (queued.type, queued.status, queued.attempts) == ("webhook.test", "PENDING", 0)
    assert shop.jobs.asked == [(DELIVER_JOB, 0, {"webhook_id": webhook})]
    await shop.deliver(webhook)
    event = receiver.requests[0].verified_by(secret)
    assert (event["type"], event["id"], event["data"]["webhook_id"]) == ("webhook.test", queued.event_id, webhook)
    assert set(event) == {"type", "timestamp", "data", "id"}


async def test_events_are_told_to_whoever_waits_for_a_delivery(shop: Shop, receiver: Receiver) -> None:
    receiver.answers = [500]
    sku = await shop.sku("MUG")
    webhook, _ = await shop.webhook(receiver)
    await shop.adjust(sku)
    await shop.follow()
    told: list[tuple[str, bytes]] = []

    async def listen(_: object, kind: str, data: bytes) -> None:
        told.append((kind, data))

    await deliver(shop.inventory, shop.jobs, webhook, on_delivered=listen)
    assert [kind for kind, _ in told] == ["stock.adjusted"]
    assert b'"sku":"MUG"' in told[0][1]
    assert len(receiver.requests) == 2


async def test_a_webhook_gone_bad_by_a_setting_fails_and_says_why(shop: Shop, receiver: Receiver) -> None:
    sku = await shop.sku("MUG")
    webhook, _ = await shop.webhook(receiver)
    await shop.adjust(sku)
    await shop.deliver(webhook, shop.with_rules(allow_private=False))
    assert receiver.requests == []
    assert "https" in str(shop.log(webhook)[0][4])


async def test_deleted_means_nothing_more(shop: Shop, receiver: Receiver) -> None:
    sku = await shop.sku("MUG")
    webhook, _ = await shop.webhook(receiver)
    await shop.adjust(sku)
    await shop.follow()
    await subscriptions.delete_webhook(shop.inventory, webhook)
    await shop.adjust(sku)
    assert (await shop.deliver(webhook)).startswith("nothing to do")
    assert shop.statuses(webhook) == ["DISCARDED"]
    assert shop.webhook_row(webhook, "secret, previous_secret") == ("", None)
    assert receiver.requests == []
    for work in (
        subscriptions.get_webhook(shop.inventory, webhook),
        subscriptions.delete_webhook(shop.inventory, webhook),
        subscriptions.rotate_secret(shop.inventory, webhook),
        subscriptions.enable_webhook(shop.inventory, shop.jobs, webhook),
        subscriptions.list_deliveries(shop.inventory, webhook),
    ):
        with pytest.raises(UnknownWebhook):
            await work
    assert (await subscriptions.list_webhooks(shop.inventory)).items == ()


async def test_a_webhook_is_deleted_though_postgres_goes_then(
    shop: Shop, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    sku = await shop.sku("MUG")
    webhook, _ = await shop.webhook(receiver)
    await shop.adjust(sku)
    await shop.follow()

    async def gone(_: Database) -> int:
        raise DatabaseUnavailable("server closed the connection")

    with monkeypatch.context() as patch:
        patch.setattr(webhook_deliveries, "discard_of_deleted_webhooks", gone)
        await subscriptions.delete_webhook(shop.inventory, webhook)
    with pytest.raises(UnknownWebhook):
        await subscriptions.get_webhook(shop.inventory, webhook)
    await shop.deliver(webhook)
    await sweep_webhooks(shop.inventory, shop.jobs)
    assert set(shop.statuses(webhook)) == {"DISCARDED"}
    assert receiver.requests == []


async def test_the_log_is_kept_for_a_while(shop: Shop, receiver: Receiver) -> None:
    sku = await shop.sku("MUG")
    webhook, _ = await shop.webhook(receiver)
    deleted, _ = await shop.webhook(receiver)
    await shop.adjust(sku, times=4)
    await shop.deliver(webhook)
    await subscriptions.delete_webhook(shop.inventory, deleted)
    assert await forget_old_deliveries(shop.inventory) == 0
    shop.rows("UPDATE webhook_deliveries SET created_at = now() - interval '15 days' WHERE event_id <= '0-1-5'")
    shop.rows("UPDATE webhooks SET disabled_at = now() - interval '15 days' WHERE status = 'deleted'")
    assert await forget_old_deliveries(shop.inventory) == 6
    assert len(shop.log(webhook)) == 1
    assert shop.rows("SELECT count(*) FROM webhooks") == [(2,)]
    shop.rows("UPDATE webhook_deliveries SET created_at = now() - interval '15 days'")
    assert await forget_old_deliveries(shop.inventory) == 2
    assert shop.rows("SELECT id FROM webhooks") == [(webhook,)]


async def test_refusals_change_nothing(shop: Shop, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for patterns in (["stock.high"], ["*.*"], ["stock*"], [""], ["webhook.test"], ["reservation."], ["STOCK.LOW"]):
        with pytest.raises(InvalidRequest):
            await shop.webhook(receiver, *patterns)
    monkeypatch.setattr(subscriptions, "MAX_WEBHOOKS", 2)
    await shop.webhook(receiver)
    await shop.webhook(receiver, "stock.*", "stock.*", "stock.low")
    with pytest.raises(WebhookLimit):
        await shop.webhook(receiver)
    assert sorted(shop.rows("SELECT events FROM webhooks")) == [(["*"],), (["stock.*", "stock.low"],)]


async def test_without_a_journal_nobody_knows_where_to_begin(shop: Shop, receiver: Receiver, redis_client: Any) -> None:
    redis_client.delete("{h00}:meta")
    with pytest.raises(NotReady):
        await shop.webhook(receiver)
    assert shop.rows("SELECT id FROM webhooks") == []


async def test_secrets_are_never_told(shop: Shop, receiver: Receiver) -> None:
    receiver.answers = [500, 410]
    sku = await shop.sku("MUG")
    with capture_logs() as lines:
        webhook, old = await shop.webhook(receiver)
        _, new = await subscriptions.rotate_secret(shop.inventory, webhook)
        await shop.adjust(sku, times=3)
        await shop.deliver(webhook)
        shown = [
            await subscriptions.get_webhook(shop.inventory, webhook),
            await subscriptions.list_webhooks(shop.inventory),
            await subscriptions.list_deliveries(shop.inventory, webhook),
            await subscriptions.enable_webhook(shop.inventory, shop.jobs, webhook),
        ]
        claimed = await claim_webhook(shop.inventory.database, webhook, "x", 1)
    assert claimed is not None
    assert claimed.secret == new
    keys = SigningSecrets(new, old)
    told = "\n".join(map(repr, (*lines, *shown, *shop.jobs.asked, claimed, keys)))
    told += "\n".join(map(str, shop.rows("SELECT body, last_error FROM webhook_deliveries")))
    told += "".join(got.body.decode() + str(got.headers) for got in receiver.requests)
    for secret in (old, new):
        assert secret not in told
        assert secret.removeprefix("whsec_") not in told
    assert lines


def test_the_followers_name_is_fixed() -> None:
    """Another name would begin anew at the oldest event there is."""
    assert WebhookConsumer(None).name == "webhooks"
