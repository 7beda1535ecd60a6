"""What nobody asked for in time: due deliveries whose job was lost, backlogs without end, old log lines.

Owns the rounds that a schedule makes; each may be made at any time and twice.
"""

from __future__ import annotations

import structlog

from inventory.context import Inventory
from inventory.job_queue import JobQueue
from inventory.webhooks.delivery import DELIVER_JOB
from persistence.queries.webhook_deliveries import (
    delete_old_deliveries,
    discard_beyond,
    discard_of_deleted_webhooks,
    webhooks_with_due,
)
from persistence.queries.webhooks import forget_deleted_webhooks

logger = structlog.get_logger("holdfast.webhooks")


async def sweep_webhooks(inventory: Inventory, jobs: JobQueue) -> str:
    """Ask for a job for every webhook that has something due and nobody sending it; one line on what was found."""
    given_up = await discard_of_deleted_webhooks(inventory.database)
    too_many = await discard_beyond(inventory.database, inventory.settings.webhooks.max_pending)
    if too_many:
        logger.warning("webhook deliveries given up: too many were waiting", given_up=too_many)
    waiting = await webhooks_with_due(inventory.database)
    for webhook_id in waiting:
        await jobs.enqueue(DELIVER_JOB, webhook_id=webhook_id)
    return f"{len(waiting)} webhooks with something due, {given_up + too_many} deliveries given up"


async def forget_old_deliveries(inventory: Inventory) -> int:
    """Delete log lines older than the settings keep them, and what is left of webhooks deleted before that.

    How many lines went. Raises DatabaseUnavailable.
    """
    gone = await delete_old_deliveries(inventory.database, inventory.settings.webhooks.log_s)
    await forget_deleted_webhooks(inventory.database, inventory.settings.webhooks.log_s)
    return gone
