"""The jobs of webhooks: send what is due to one, and find those that nobody is sending to."""

from __future__ import annotations

from inventory.alerts import alert_desk
from inventory.webhooks.delivery import deliver
from inventory.webhooks.sweep import sweep_webhooks
from worker.jobs.context import JobContext


async def deliver_job(context: JobContext, webhook_id: str) -> str:
    """`webhooks.deliver`: harmless at any time, also twice at once."""
    return await deliver(context.inventory, context.jobs, webhook_id, on_delivered=alert_desk.delivered)


async def sweep_job(context: JobContext) -> str:
    """`webhooks.sweep`: what a killed job left, and the longer back-offs."""
    return await sweep_webhooks(context.inventory, context.jobs)
