"""Sending what is due to one webhook: attempt, write down, and decide when to try again or to give up.

Owns the rules of retrying. One caller at a time sends to a webhook (a lease in Postgres); what it has not written down
when it is killed is sent again, with the same webhook-id, so that a receiver can tell.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import structlog
from msgspec import Struct

from engine.trace_context import headers_to_send
from inventory.context import Inventory
from inventory.job_queue import JobQueue
from inventory.refusals import WebhookUrlRefused
from inventory.rules import WebhookRules
from inventory.webhooks.endpoint_url import parse_endpoint
from inventory.webhooks.messages import data_of
from inventory.webhooks.sender import CONNECTIONS, Attempt, Sender
from inventory.webhooks.signing import SigningSecrets, signature_headers
from persistence.queries.webhook_deliveries import (
    AttemptOutcome,
    DueDelivery,
    due_deliveries,
    next_due_in_s,
    record_outcomes,
)
from persistence.queries.webhooks import (
    ClaimedWebhook,
    Standing,
    claim_webhook,
    disable_webhook,
    record_failures,
    record_success,
    release_webhook,
)

DELIVER_JOB: Final = "webhooks.deliver"
BUDGET_S: Final = 10.0
"""After this long no further chunk is begun: other webhooks and jobs want their turn."""
LEASE_S: Final = 60
"""More than any chunk takes."""
MAX_CHUNK: Final = 2 * CONNECTIONS
PAUSE_FROM: Final = 3
"""Failures in a row from which on nothing is sent for a while: the endpoint is down, not one message bad."""
FIRST_PAUSE_S: Final = 5
MAX_PAUSE_S: Final = 900
DISABLE_FROM: Final = 10
"""Failures in a row that it takes at least to disable a webhook for failing too long: silence is no failure."""
SOON_S: Final = 60.0
"""What is due within this has a job asked for it; the sweep finds the rest."""

logger = structlog.get_logger("holdfast.webhooks")

OnDelivered = Callable[[Inventory, str, bytes], Awaitable[object]]
"""Called with the type and the `data` of each event that a receiver took, before that is written down: again after a
kill in between, but never not."""


class _Run(Struct):
    """What one caller has done so far."""

    hook: ClaimedWebhook
    lease: str
    failures: int
    delivered: int = 0
    failed: int = 0


async def deliver(
    inventory: Inventory,
    jobs: JobQueue,
    webhook_id: str,
    *,
    sender: Sender | None = None,
    on_delivered: OnDelivered | None = None,
) -> str:
    """Send what is due to a webhook, for BUDGET_S at most; one line on what was done. Harmless at any time.

    Raises DatabaseUnavailable; never for what the receiver does.
    """
    lease = secrets.token_hex(8)
    hook = await claim_webhook(inventory.database, webhook_id, lease, LEASE_S)
    if hook is None:
        return "nothing to do: disabled, paused, or another job is sending"
    run = _Run(hook, lease, hook.failures)
    try:
        if sender is not None:
            await _drain(inventory, run, sender, on_delivered)
        else:
            async with Sender(allow_private=inventory.settings.webhooks.allow_private) as own:
                await _drain(inventory, run, own, on_delivered)
    finally:
        await release_webhook(inventory.database, webhook_id, lease)
    # Only now, with the lease let go: what came in while we held it found nobody else to send it.
    wait_s = await next_due_in_s(inventory.database, webhook_id)
    if wait_s is not None and wait_s <= SOON_S:
        await jobs.enqueue(DELIVER_JOB, delay_s=max(0.0, wait_s), webhook_id=webhook_id)
    return f"{run.delivered} delivered, {run.failed} failed"


async def _drain(inventory: Inventory, run: _Run, sender: Sender, on_delivered: OnDelivered | None) -> None:
    clock = asyncio.get_running_loop().time
    end = clock() + BUDGET_S
    # One first: what the endpoint makes of it says how many it will take at once.
    size = 1
    while clock() < end:
        due = await due_deliveries(inventory.database, run.hook.id, size)
        if not due:
            return
        attempts = await _attempt_all(inventory, run.hook, due, sender)
        standing = await _write_down(inventory, run, due, attempts, on_delivered)
        if not await _may_go_on(inventory, run, attempts, standing):
            return
        size = min(MAX_CHUNK, size * 4) if all(attempt.delivered for attempt in attempts) else 1


async def _attempt_all(
    inventory: Inventory, hook: ClaimedWebhook, due: Sequence[DueDelivery], sender: Sender
) -> list[Attempt]:
    try:
        endpoint = parse_endpoint(hook.url, allow_private=inventory.settings.webhooks.allow_private)
    except WebhookUrlRefused as refusal:
        # Good when it was saved; the settings have changed since.
        return [Attempt(error=refusal.detail)] * len(due)
    keys = SigningSecrets(hook.secret, hook.previous_secret)
    slots = asyncio.Semaphore(CONNECTIONS)

    async def attempt(delivery: DueDelivery) -> Attempt:
        async with slots:
            headers = signature_headers(keys, delivery.event_id, datetime.now(UTC), delivery.body)
            return await sender.post(endpoint, delivery.body.encode(), {**headers, **headers_to_send()})

    return await asyncio.gather(*map(attempt, due))


async def _write_down(
    inventory: Inventory,
    run: _Run,
    due: Sequence[DueDelivery],
    attempts: Sequence[Attempt],
    on_delivered: OnDelivered | None,
) -> Standing | None:
    taken = [delivery for delivery, attempt in zip(due, attempts, strict=True) if attempt.delivered]
    failed = len(due) - len(taken)
    run.delivered += len(taken)
    run.failed += failed
    if on_delivered is not None:
        for delivery in taken:
            await on_delivered(inventory, delivery.type, data_of(delivery.body))
    async with inventory.database.transaction() as transaction:
        outcomes = [outcome_of(inventory.settings.webhooks, *pair) for pair in zip(due, attempts, strict=True)]
        await record_outcomes(transaction, outcomes)
        if taken:
            return await record_success(transaction, run.hook.id, run.lease, LEASE_S)
        pause_s = pause_after(run.failures + failed)
        return await record_failures(transaction, run.hook.id, run.lease, LEASE_S, failed=failed, pause_s=pause_s)


async def _may_go_on(inventory: Inventory, run: _Run, attempts: Sequence[Attempt], standing: Standing | None) -> bool:
    if any(attempt.gone for attempt in attempts):
        await _disable(inventory, run.hook.id, "the receiver answered 410 Gone")
        return False
    if standing is None or not standing.active:
        return False
    run.failures = standing.failures
    if standing.failures >= DISABLE_FROM and standing.failing_s >= inventory.settings.webhooks.disable_after_s:
        hours = round(standing.failing_s / 3600)
        await _disable(inventory, run.hook.id, f"nothing was delivered for {hours} h, {standing.failures} attempts")
        return False
    return standing.failures < PAUSE_FROM


async def _disable(inventory: Inventory, webhook_id: str, reason: str) -> None:
    if await disable_webhook(inventory.database, webhook_id, reason):
        logger.warning("webhook disabled", webhook=webhook_id, reason=reason)


def outcome_of(rules: WebhookRules, delivery: DueDelivery, attempt: Attempt) -> AttemptOutcome:
    """What becomes of a delivery after one more attempt."""
    if attempt.delivered:
        return AttemptOutcome(delivery.id, "DELIVERED", 0, attempt.status, None)
    if attempt.gone or delivery.attempts >= len(rules.retry_s):
        return AttemptOutcome(delivery.id, "FAILED", 0, attempt.status, attempt.error)
    # Up to a tenth more, so that what failed together does not come back together.
    wait_s = rules.retry_s[delivery.attempts] * random.uniform(1, 1.1)  # noqa: S311 - no secret
    return AttemptOutcome(delivery.id, "PENDING", max(wait_s, attempt.retry_after_s), attempt.status, attempt.error)


def pause_after(failures: int) -> int:
    """Seconds in which a webhook with so many failures in a row is left alone."""
    if failures < PAUSE_FROM:
        return 0
    return int(min(MAX_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failures - PAUSE_FROM, 20)))
