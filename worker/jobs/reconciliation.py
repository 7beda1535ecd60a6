"""The scheduled reconciliation as a job; inventory/reconciliation does it."""

from __future__ import annotations

from inventory.reconciliation.scheduled import reconcile_and_tell
from worker.jobs.context import JobContext


async def reconcile(context: JobContext) -> str:
    """Hold counters, holds, journal and ledger against each other, and tell."""
    return await reconcile_and_tell(context.inventory)
