"""What an admin does with webhooks: make, look, delete, rotate the secret, enable, test, send again.

Owns the rules of it (which URLs, how many, when a secret ends); never sends (delivery.py).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Final

import structlog
from msgspec import Struct

from engine.errors import NotReady
from inventory.context import Inventory
from inventory.job_queue import JobQueue
from inventory.refusals import UnknownDelivery, UnknownWebhook, WebhookDisabled, WebhookLimit, WebhookUrlRefused
from inventory.webhooks.addresses import Resolver, checked_addresses, system_resolver
from inventory.webhooks.delivery import DELIVER_JOB
from inventory.webhooks.endpoint_url import parse_endpoint
from inventory.webhooks.event_filter import TEST_EVENT, checked_patterns
from inventory.webhooks.messages import own_message
from inventory.webhooks.signing import new_secret
from persistence.database import DatabaseUnavailable
from persistence.pages import Page
from persistence.queries import webhook_deliveries, webhooks
from persistence.queries.webhook_deliveries import Delivery, DeliveryStatus, NewDelivery
from persistence.queries.webhooks import Webhook

MAX_WEBHOOKS: Final = 100
"""Each of them may be sent every event."""
BOTH_SECRETS_S: Final = 86_400
"""How long the old secret signs beside the new one."""

logger = structlog.get_logger("holdfast.webhooks")


class _Test(Struct, frozen=True):
    webhook_id: str
    message: str = "This is a test; nothing has happened to the stock."


async def create_webhook(
    inventory: Inventory,
    url: str,
    events: Sequence[str],
    created_by: str,
    *,
    resolve: Resolver = system_resolver,
) -> tuple[Webhook, str]:
    """A new webhook and its secret, which is never shown again. It gets what happens from now on.

    Raises WebhookUrlRefused, InvalidRequest (events), WebhookLimit, and what engine and database raise.
    """
    patterns = checked_patterns(events)
    await check_url(url, allow_private=inventory.settings.webhooks.allow_private, resolve=resolve)
    secret = new_secret()
    made = await webhooks.insert_webhook(
        inventory.database,
        f"wh_{secrets.token_hex(8)}",
        url=url,
        events=patterns,
        secret=secret,
        created_by=created_by,
        position=await _position(inventory),
        at_most=MAX_WEBHOOKS,
    )
    if made is None:
        raise WebhookLimit(f"There are {MAX_WEBHOOKS} webhooks; delete one first.")
    return made, secret


async def check_url(url: str, *, allow_private: bool, resolve: Resolver = system_resolver) -> None:
    """Return if webhooks may have this URL as its name resolves now. Raises WebhookUrlRefused."""
    endpoint = parse_endpoint(url, allow_private=allow_private)
    try:
        await checked_addresses(endpoint.host, endpoint.port, resolve, allow_private=allow_private)
    except (OSError, TimeoutError, UnicodeError):
        raise WebhookUrlRefused(f"The name {endpoint.host} cannot be resolved.") from None


async def list_webhooks(inventory: Inventory, limit: int = 50, cursor: str | None = None) -> Page[Webhook]:
    """Every webhook, newest first."""
    return await webhooks.webhook_page(inventory.database, limit, cursor)


async def get_webhook(inventory: Inventory, webhook_id: str) -> Webhook:
    """One webhook. Raises UnknownWebhook."""
    return _known(await webhooks.webhook_by_id(inventory.database, webhook_id))


async def delete_webhook(inventory: Inventory, webhook_id: str) -> None:
    """Nothing more is sent; what still waits is given up. Raises UnknownWebhook."""
    if not await webhooks.delete_webhook(inventory.database, webhook_id):
        raise UnknownWebhook
    try:
        await webhook_deliveries.discard_of_deleted_webhooks(inventory.database)
    except DatabaseUnavailable:
        # It is deleted and nothing is sent to it any more: only the log is late, and the next sweep sees to that.
        logger.warning("the log of a deleted webhook is tidied later: Postgres does not answer", webhook=webhook_id)


async def rotate_secret(inventory: Inventory, webhook_id: str) -> tuple[Webhook, str]:
    """A new secret; the one before it signs too for BOTH_SECRETS_S, any older one no more. Raises UnknownWebhook."""
    secret = new_secret()
    changed = await webhooks.replace_secret(inventory.database, webhook_id, secret, BOTH_SECRETS_S)
    return _known(changed), secret


async def enable_webhook(inventory: Inventory, jobs: JobQueue, webhook_id: str) -> Webhook:
    """Send again: what waited, and what happens from now on. On an active one: end its pause. Raises UnknownWebhook."""
    enabled = _known(await webhooks.enable_webhook(inventory.database, webhook_id, await _position(inventory)))
    await jobs.enqueue(DELIVER_JOB, webhook_id=webhook_id)
    return enabled


async def disable_webhook(inventory: Inventory, webhook_id: str, disabled_by: str) -> Webhook:
    """Send nothing until it is enabled. One that is disabled already stays as it is. Raises UnknownWebhook."""
    await webhooks.disable_webhook(inventory.database, webhook_id, f"disabled by {disabled_by}")
    return await get_webhook(inventory, webhook_id)


async def send_test(inventory: Inventory, jobs: JobQueue, webhook_id: str) -> Delivery:
    """Have a test event sent; how it went will stand in the log. Raises UnknownWebhook, WebhookDisabled."""
    await _active(inventory, webhook_id)
    event_id = f"test-{secrets.token_hex(8)}"
    body = own_message(event_id, TEST_EVENT, time.time_ns() // 1_000_000, _Test(webhook_id))
    async with inventory.database.transaction() as transaction:
        await webhook_deliveries.add_deliveries(transaction, [NewDelivery(webhook_id, event_id, TEST_EVENT, body)])
    await jobs.enqueue(DELIVER_JOB, webhook_id=webhook_id)
    kept = await webhook_deliveries.delivery_of_event(inventory.database, webhook_id, event_id)
    if kept is None:
        raise UnknownDelivery
    return kept


async def list_deliveries(
    inventory: Inventory,
    webhook_id: str,
    status: DeliveryStatus | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[Delivery]:
    """The log of a webhook, newest first. Raises UnknownWebhook."""
    await get_webhook(inventory, webhook_id)
    return await webhook_deliveries.delivery_page(inventory.database, webhook_id, status, limit, cursor)


async def send_again(inventory: Inventory, jobs: JobQueue, webhook_id: str, delivery_id: int) -> Delivery:
    """Send a delivery now, however it stands, with all its attempts before it.

    Raises UnknownWebhook, WebhookDisabled, UnknownDelivery.
    """
    await _active(inventory, webhook_id)
    delivery = await webhook_deliveries.begin_delivery_anew(inventory.database, webhook_id, delivery_id)
    if delivery is None:
        raise UnknownDelivery
    await jobs.enqueue(DELIVER_JOB, webhook_id=webhook_id)
    return delivery


async def _position(inventory: Inventory) -> tuple[int, int]:
    """Where the journal stands: what comes after has not happened yet. Raises NotReady when Redis has lost it."""
    state = await inventory.engine.journal_state()
    if state.epoch == 0:
        raise NotReady("the partition has no state")
    return state.epoch, state.seq


async def _active(inventory: Inventory, webhook_id: str) -> None:
    webhook = await get_webhook(inventory, webhook_id)
    if webhook.status != "active":
        raise WebhookDisabled(f"It is disabled ({webhook.reason}); enable it first.")


def _known(webhook: Webhook | None) -> Webhook:
    if webhook is None:
        raise UnknownWebhook
    return webhook
